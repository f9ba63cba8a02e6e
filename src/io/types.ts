/**
 * The seam for all input and output. A source is random-access bytes of a known size; a sink is random-access bytes being
 * written; a store is a place with names (a folder on disk, in OPFS, in memory). Nothing above this floor knows files.
 */

/** What a worker needs to open the same bytes by itself. Structured-clonable. */
export type SourceHandle =
  | { kind: 'file'; path: string }
  | { kind: 'memory'; bytes: Uint8Array }
  | { kind: 'blob'; blob: Blob }
  | { kind: 'url'; url: string; size: number };

export interface ByteSource {
  /** For messages: a path, URL or label. */
  readonly name: string;
  readonly size: number;
  readonly handle: SourceHandle;
  /**
   * Fills `target` with the bytes from `offset`.
   * @throws FileError when the range is not inside the source or the source changed.
   */
  readInto(target: Uint8Array, offset: number): Promise<void>;
  close(): Promise<void>;
}

export type SinkHandle = { kind: 'file'; path: string } | { kind: 'memory'; bytes: Uint8Array };

export interface ByteSink {
  readonly name: string;
  readonly handle: SinkHandle;
  readonly size: number;
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Reads back what was written. */
  readInto(target: Uint8Array, offset: number): Promise<void>;
  /** Makes written bytes durable. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Named byte objects in one place: a folder. Names may hold `/`. */
export interface Store {
  readonly name: string;
  /** All names below a folder of the store, by default the whole store, sorted. */
  list(folder?: string): Promise<string[]>;
  /** Size in bytes, or undefined when there is no such name. */
  stat(name: string): Promise<{ size: number; kind: 'file' | 'folder' } | undefined>;
  open(name: string): Promise<ByteSource>;
  /** Opens `name` for positional writing with `size` bytes reserved; what an earlier run wrote stays. */
  create(name: string, size: number): Promise<ByteSink>;
  append(name: string, bytes: Uint8Array): Promise<void>;
  /** Makes `name` with these bytes unless it is there: true for the one caller that made it. */
  claim(name: string, bytes: Uint8Array): Promise<boolean>;
  /** Where `name` is on disk, links followed; undefined where there is no disk. */
  path(name: string): string | undefined;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file or a folder with what is in it; does nothing when it is not there. */
  remove(name: string): Promise<void>;
  /** Free bytes where known. */
  free(): Promise<number | undefined>;
}
