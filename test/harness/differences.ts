/** Central differences of a float64 function: error about step^2 f''' / 6 + 1e-16 |f| / step. */
export function centralDifferences(
  f: (values: Float64Array) => number,
  at: Float64Array,
  step = 1e-6,
): Float64Array {
  return at.map((value, i) => {
    const h = step * Math.max(1, Math.abs(value));
    const probe = at.slice();
    probe[i] = value + h;
    const above = f(probe);
    probe[i] = value - h;
    return (above - f(probe)) / (2 * h);
  });
}
