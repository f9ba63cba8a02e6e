/**
 * One small file for each class of attack known from readers of these formats. `expected` is part of the error that the reader must
 * give; where it is absent the file is legal and must be carried without harm.
 * Ids name reports of the same class, not of the same file: CVE and GHSA numbers; L = an issue or pull request of ggml-org/llama.cpp, others by repository.
 */
export interface Attack {
  readonly file: string;
  readonly class: string;
  readonly ids?: readonly string[];
  readonly expected?: string;
  readonly bytes: Uint8Array;
}
