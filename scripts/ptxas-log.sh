# sh ptxas-log.sh <object> <compiler and its arguments>: runs the compiler; what ptxas reports goes
# to <object>.ptxas, and only the rest is shown.
log="$1.ptxas"
shift
"$@" 2>"$log"
code=$?
if [ $code -ne 0 ]; then cat "$log" >&2; else grep -v '^ptxas info\|^    ' "$log" >&2; fi
exit $code
