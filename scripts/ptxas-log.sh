# sh ptxas-log.sh <object> <compiler and its arguments>: runs the compiler; what ptxas reports goes
# to <object>.ptxas, with the time of this shell and, in the last line, that of the compiler (user,
# system). The rest is shown.
log="$1.ptxas"
shift
"$@" 2>"$log"
code=$?
if [ $code -ne 0 ]; then cat "$log" >&2; else grep -v '^ptxas info\|^    ' "$log" >&2; fi
times >>"$log"
exit $code
