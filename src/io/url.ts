import { FileError } from '../errors.ts';
import { BLOCK_BYTES, BlockCache } from './blocks.ts';
import { memorySource } from './memory.ts';
import { checkRange } from './range.ts';
import type { ByteSource } from './types.ts';

/** Bytes of one request: a dropped connection loses no more than this. */
const REQUEST_BYTES = 2 ** 24;
/** A request that has not ended by then is given up and tried again. */
const REQUEST_TIMEOUT_MS = 120_000;
const RETRIES = 3;
const RETRY_MS = 100;
/** Answers that mean "there is no such file"; S3 says 403 where the bucket may not be listed. */
const ABSENT = new Set([403, 404, 410]);
/** Answers that may differ a moment later. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);

export interface UrlOptions {
  /** Size already known to the caller (a worker that opens a handle): no probe is sent. */
  size?: number;
  /** A server without ranges is accepted for files up to this many bytes, which are then read whole. 0 by default. */
  whole?: number;
  fetch?: typeof fetch;
}

/**
 * Opens a URL for reading by HTTP range requests.
 * @throws FileError when there is no such file, the server has no ranges, or (on a read) the file changed meanwhile.
 */
export async function openUrl(url: string, options: UrlOptions = {}): Promise<ByteSource> {
  const source = await openUrlIfThere(url, options);
  if (source) return source;
  throw new FileError({ what: 'no such file on the server, or it may not be read', where: url, next: 'check the address' });
}

/** As `openUrl`; undefined when the server says that there is no such file. */
export async function openUrlIfThere(url: string, options: UrlOptions = {}): Promise<ByteSource | undefined> {
  // A browser's fetch refuses to be called as a method of another object, hence the wrapper.
  const server = new RangeServer(url, options.fetch ?? ((input, init) => fetch(input, init)));
  if (options.size !== undefined) return urlSource(server, options.size);

  return server.retry(async () => {
    const { response, finish } = await server.get(0, BLOCK_BYTES - 1);
    try {
      if (ABSENT.has(response.status)) return undefined;
      if (response.status === 200) return memorySource(await wholeBody(url, response, options.whole ?? 0), url);
      // An empty file has no byte 0 that a range could name.
      if (response.status === 416) return memorySource(new Uint8Array(), url);
      server.check(response);
      const size = await server.sizeOf(response);
      const first = new Uint8Array(Math.min(BLOCK_BYTES, size));
      await drain(url, response, first);
      return urlSource(server, size, first);
    } finally {
      await finish();
    }
  });
}

function urlSource(server: RangeServer, size: number, first?: Uint8Array): ByteSource {
  const cache = new BlockCache(size, (target, offset) => server.load(target, offset, size));
  if (first) cache.seed(first);
  return {
    name: server.url,
    size,
    handle: { kind: 'url', url: server.url, size },
    async readInto(target, offset) {
      checkRange(server.url, size, offset, target.length);
      await cache.readInto(target, offset);
    },
    async close() {
      cache.clear();
    },
  };
}

/** One file on one server: range requests with retries, and the check that all answers are of one version of the file. */
class RangeServer {
  readonly url: string;
  readonly #fetch: typeof fetch;
  /** ETag or modification time of the first answer. */
  #version: string | undefined;

  constructor(url: string, fetcher: typeof fetch) {
    this.url = url;
    this.#fetch = fetcher;
  }

  /** Fills `target` from `offset`, a bounded number of bytes a request. */
  async load(target: Uint8Array, offset: number, size: number): Promise<void> {
    for (let at = 0; at < target.length; at += REQUEST_BYTES) {
      const part = target.subarray(at, Math.min(at + REQUEST_BYTES, target.length));
      await this.retry(() => this.#loadOnce(part, offset + at, size));
    }
  }

  /** The answer to one range request, unless it may differ a moment later. `finish` lets go of the connection. */
  async get(from: number, to: number): Promise<{ response: Response; finish: () => Promise<void> }> {
    const response = await this.#fetch(this.url, {
      headers: { Range: `bytes=${from}-${to}` },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const finish = async () => {
      if (!response.bodyUsed) await response.body?.cancel();
    };
    if (!PASSING.has(response.status)) return { response, finish };
    await finish();
    throw new Error(`HTTP ${response.status}`);
  }

  /** Refuses an answer that is not a range, or is a range of another version of the file. */
  check(response: Response): void {
    if (response.status === 200) throw noRanges(this.url);
    if (response.status !== 206) throw new FileError({ what: 'the server refused', where: this.url, value: response.status });
    const version = response.headers.get('etag') ?? response.headers.get('last-modified') ?? undefined;
    this.#version ??= version;
    if (version !== this.#version) throw changed(this.url, version, this.#version);
  }

  /** Whole size of the file. Across origins Content-Range may be hidden from the page; HEAD's Content-Length never is. */
  async sizeOf(response: Response): Promise<number> {
    const total = contentRange(response)?.total;
    if (total !== undefined) return total;
    const head = await this.#fetch(this.url, { method: 'HEAD' });
    const length = head.headers.get('content-length');
    if (head.ok && length !== null && /^\d+$/.test(length)) return Number(length);
    throw new FileError({ what: 'the server does not tell the size of the file', where: this.url, next: 'download it first' });
  }

  async #loadOnce(target: Uint8Array, offset: number, size: number): Promise<void> {
    const { response, finish } = await this.get(offset, offset + target.length - 1);
    try {
      this.check(response);
      const range = contentRange(response);
      if (range && range.total !== size) throw changed(this.url, `${range.total} bytes`, `${size} bytes`);
      if (range && range.from !== offset) throw new FileError({ what: 'the server sent another range', where: this.url });
      await drain(this.url, response, target);
    } finally {
      await finish();
    }
  }

  /** Network failures and passing answers are tried again; a FileError is final. */
  async retry<T>(action: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await action();
      } catch (error) {
        if (error instanceof FileError) throw error;
        if (attempt === RETRIES) throw unreachable(this.url, error);
        await new Promise((resume) => setTimeout(resume, RETRY_MS * 2 ** attempt));
      }
    }
  }
}

function contentRange(response: Response): { from: number; total: number } | undefined {
  const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  return match ? { from: Number(match[1]), total: Number(match[2]) } : undefined;
}

/** Reads the body into `target`; the body must have exactly its length. */
async function drain(url: string, response: Response, target: Uint8Array): Promise<void> {
  const reader = response.body?.getReader();
  let at = 0;
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    if (at + part.value.length > target.length) {
      await reader?.cancel();
      throw new FileError({ what: 'the server sent more bytes than asked for', where: url, limit: target.length });
    }
    target.set(part.value, at);
    at += part.value.length;
  }
  // Not final: a connection that breaks may end a body early without an error.
  if (at !== target.length) throw new Error(`${at} of ${target.length} bytes came`);
}

/** The body of a server without ranges, when the caller takes a file of up to `limit` bytes whole. */
async function wholeBody(url: string, response: Response, limit: number): Promise<Uint8Array> {
  const claimed = Number(response.headers.get('content-length') ?? Number.NaN);
  if (claimed === 0) return new Uint8Array();
  if (limit === 0 || claimed > limit) throw noRanges(url);
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = response.body?.getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    parts.push(part.value);
    size += part.value.length;
    if (size <= limit) continue;
    await reader?.cancel();
    throw noRanges(url);
  }
  // A compressed body is longer than its claim; then only the decoder notices a broken end.
  if (!response.headers.has('content-encoding') && size < claimed) throw new Error(`${size} of ${claimed} bytes came`);
  const bytes = new Uint8Array(size);
  parts.reduce((at, part) => {
    bytes.set(part, at);
    return at + part.length;
  }, 0);
  return bytes;
}

function noRanges(url: string): FileError {
  return new FileError({
    what: 'the server does not answer range requests, so parts of the file cannot be read',
    where: url,
    next: 'download the file and give its path',
  });
}

function changed(url: string, value: string | undefined, first: string | undefined): FileError {
  return new FileError({
    what: 'the file changed on the server while it was read',
    where: url,
    value: value ?? 'no version',
    limit: first ?? 'no version',
    next: 'run the command again',
  });
}

function unreachable(url: string, error: unknown): FileError {
  const cause = error instanceof Error ? (error.cause instanceof Error ? error.cause : error) : undefined;
  return new FileError({
    what: 'the server cannot be reached',
    where: url,
    value: cause?.message ?? String(error),
    next: 'check the address and the connection',
  });
}
