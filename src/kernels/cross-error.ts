/** Errors between threads: structured cloning keeps no classes, so a family travels by name with its problem. */
import {
  FewbitsError,
  FileError,
  FormatError,
  LimitError,
  ModelError,
  NumericError,
  type Problem,
  RecipeError,
  VerificationError,
} from '../errors.ts';

const families: Record<string, new (problem: Problem) => FewbitsError> = {
  FewbitsError,
  FileError,
  FormatError,
  LimitError,
  ModelError,
  NumericError,
  RecipeError,
  VerificationError,
};

export type CrossedError = { family: string; problem: Problem } | { name: string; message: string; stack?: string | undefined };

export function cross(error: unknown): CrossedError {
  if (error instanceof FewbitsError) {
    // A value may be anything, a function even; what cannot be cloned is named.
    const { value, limit, ...rest } = error.problem;
    return {
      family: error.name,
      problem: {
        ...rest,
        ...(value !== undefined && { value: plain(value) }),
        ...(limit !== undefined && { limit: plain(limit) }),
      },
    };
  }
  if (error instanceof Error) return { name: error.name, message: error.message, stack: error.stack };
  return { name: 'Error', message: String(error) };
}

export function uncross(crossed: CrossedError): Error {
  if ('family' in crossed) return new (families[crossed.family] ?? FewbitsError)(crossed.problem);
  const error = new Error(crossed.message);
  error.name = crossed.name;
  if (crossed.stack) error.stack = crossed.stack;
  return error;
}

function plain(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return String(value);
  }
}
