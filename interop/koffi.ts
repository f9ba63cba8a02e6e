/**
 * The small part of koffi (a C foreign function interface) that the binding uses. koffi is installed in interop/node_modules
 * only, so it is loaded at run time and its types are stated here.
 */
import { createRequire } from 'node:module';
import { interopPackage } from './project.ts';

/** An address; null is the null pointer. Typed arrays may be passed where a pointer is expected. */
export type Pointer = bigint | null;

export interface CLibrary {
  /** Binds a function by its C prototype. */
  func(prototype: string): (...args: never[]) => unknown;
  /** The address of an exported symbol. */
  symbol(name: string): Pointer;
}

export interface Koffi {
  load(file: string, options?: { lazy?: boolean; global?: boolean }): CLibrary;
  struct(name: string, fields: Record<string, string>): unknown;
  /** Native memory for `length` values of `type`; the collector never moves or frees it. */
  alloc(type: string, length: number): bigint;
  free(at: bigint): void;
  /** `bytes` bytes of native memory, shared and not copied. */
  view(at: bigint, bytes: number): ArrayBuffer;
}

export class NotInstalled extends Error {
  override name = 'NotInstalled';
}

const require = createRequire(interopPackage);

/** @throws NotInstalled when interop/node_modules lacks the package. */
export function resolveInterop(name: string): string {
  try {
    return require.resolve(name);
  } catch {
    throw new NotInstalled(`${name} is not installed: run "npm ci --omit=optional --ignore-scripts" in interop/`);
  }
}

export function loadKoffi(): Koffi {
  return require(resolveInterop('koffi')) as Koffi;
}
