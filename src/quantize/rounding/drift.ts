/**
 * How far the layers before, as they are quantized, have moved what a linear reads: with x and h of the quantized model, x0 and h0 of
 * the unquantized one, means over tokens.
 */
export interface Drift {
  /** (x0 - x) x', [in, in] */
  input: Float32Array;
  /** (h0 - h) x', [out, in], where the linear's output is added to the stream h. */
  residual?: Float32Array;
}
