/** The file types whose GPTQ files are compared with llama.cpp's own files of the same size. */
export interface Headline {
  type: string;
  /** Largest KL that the default options may leave; else llama.cpp's own, measured in the same run. */
  limit?: number;
}

export const headlines: readonly Headline[] = [
  { type: 'q2_k' },
  { type: 'q3_k_m', limit: 0.0146 },
  { type: 'q4_0', limit: 0.0076 },
  { type: 'q4_k_m', limit: 0.005 },
  { type: 'q5_k_m' },
  { type: 'iq4_nl' },
  { type: 'iq4_xs' },
];
