/**
 * Errors say what is wrong, where, the value, the limit and what to do next, on one line.
 * One class a family; the command line turns each of them into exit code 2.
 */
export interface Problem {
  /** What is wrong: "tensor data reaches past the end of the file". */
  what: string;
  /** File, tensor, option or byte offset. */
  where?: string;
  value?: unknown;
  limit?: unknown;
  /** What the user can do. */
  next?: string;
}

export class FewbitsError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem | string) {
    const p = typeof problem === 'string' ? { what: problem } : problem;
    super(sentence(p));
    this.name = new.target.name;
    this.problem = p;
  }
}

/** A file or stream that is not what its format demands. */
export class FormatError extends FewbitsError {}
/** A model whose configuration, tensors or tokenizer do not fit together, or that is not supported. */
export class ModelError extends FewbitsError {}
/** A recipe, option or combination of options that cannot be carried out. */
export class RecipeError extends FewbitsError {}
/** NaN, Inf, overflow, a matrix that is not positive definite. */
export class NumericError extends FewbitsError {}
/** A bound that protects the machine: memory, disk, counts claimed by a header. */
export class LimitError extends FewbitsError {}
/** What was written is not what should have been written; the command line answers with exit code 1. */
export class VerificationError extends FewbitsError {}
/** Reading or writing failed: missing file, full disk, an output that exists already. */
export class FileError extends FewbitsError {}

function sentence({ what, where, value, limit, next }: Problem): string {
  const facts = [value === undefined ? '' : `got ${show(value)}`, limit === undefined ? '' : `limit ${show(limit)}`].filter(
    Boolean,
  );
  const head = `${where ? `${where}: ` : ''}${what}${facts.length ? ` (${facts.join(', ')})` : ''}`;
  return printable(next ? `${head}; ${next}` : head);
}

function show(value: unknown): string {
  const text =
    typeof value === 'string' ? value : (JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v)) ?? `${value}`);
  return text.length > 200 ? `${text.slice(0, 197)}...` : text;
}

/** Names from files may hold terminal escapes (CWE-150): control characters become visible escapes. */
export function printable(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
