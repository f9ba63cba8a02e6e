/** A number of values a row that need not be whole: so many lie in the rows before one, whatever tile it is in. */
export function valuesBefore(perRow: number, row: number): number {
  // Rounded up, so that a matrix keeps at least one; a product that is whole but for rounding stays whole.
  return Math.ceil(perRow * row - 1e-6);
}
