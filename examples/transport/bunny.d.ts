declare module 'bunny' {
  const bunny: {
    positions: readonly (readonly [number, number, number])[];
    cells: readonly (readonly [number, number, number])[];
  };
  export default bunny;
}
