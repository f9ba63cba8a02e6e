import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BLOCK_BYTES } from './blocks.ts';
import { openSource } from './open.ts';
import { read } from './range.ts';
import { openUrl, openUrlIfThere } from './url.ts';

const file = Uint8Array.from({ length: 3 * BLOCK_BYTES + 17 }, (_, i) => (i * 31 + (i >> 8)) & 255);

let server: Server;
let base: string;
let requests: string[];
let etag: string | undefined;
/** Answers that fail before one succeeds. */
let failures: number;

function answer(request: IncomingMessage, response: ServerResponse): void {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  requests.push(`${request.method} ${request.headers.range ?? ''}`);
  if (failures-- > 0) {
    response.writeHead(503).end();
    return;
  }
  const bytes = request.url === '/empty' ? file.subarray(0, 0) : file;
  if (request.url === '/absent') response.writeHead(404).end();
  else if (request.url === '/plain' || !range) response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
  else if (bytes.length === 0) response.writeHead(416, { 'content-range': 'bytes */0' }).end();
  else {
    const [from, to] = [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)];
    const part = bytes.subarray(from, request.url === '/short' && from > 0 ? to : to + 1);
    response.writeHead(206, {
      ...(request.url !== '/hidden' && { 'content-range': `bytes ${from}-${to}/${bytes.length}` }),
      ...(etag && { etag }),
      'content-length': part.length,
    });
    response.end(part);
  }
}

beforeAll(async () => {
  server = createServer(answer);
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((done) => server.close(done)));
beforeEach(() => {
  requests = [];
  etag = '"1"';
  failures = 0;
});

describe('a URL with ranges', () => {
  test('the probe brings the first block, small reads share blocks', async () => {
    const source = await openUrl(`${base}/file`);
    expect(source.size).toBe(file.length);
    for (let i = 0; i < 50; i++) expect(await read(source, i * 20_000, 8)).toEqual(file.subarray(i * 20_000, i * 20_000 + 8));
    expect(requests).toEqual([`GET bytes=0-${BLOCK_BYTES - 1}`]);
    const across = BLOCK_BYTES - 4;
    expect(await read(source, across, 8)).toEqual(file.subarray(across, across + 8));
    expect(requests.length).toBe(2);
    expect(await read(source, file.length - 3, 3)).toEqual(file.subarray(-3));
    expect(requests.length).toBe(3);
  });

  test('two readers of one block share the request', async () => {
    const source = await openUrl(`${base}/file`);
    await Promise.all([read(source, BLOCK_BYTES, 8), read(source, BLOCK_BYTES + 100, 8)]);
    expect(requests.length).toBe(2);
  });

  test('large reads are one request', async () => {
    const source = await openUrl(`${base}/file`);
    const bytes = await read(source, 5, file.length - 5);
    expect(Buffer.from(bytes).equals(Buffer.from(file.subarray(5)))).toBe(true);
    expect(requests.length).toBe(2);
  });

  test('the size comes from HEAD where Content-Range is hidden', async () => {
    const source = await openUrl(`${base}/hidden`);
    expect(source.size).toBe(file.length);
    expect(await read(source, 2 * BLOCK_BYTES, 4)).toEqual(file.subarray(2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 4));
  });

  test('a worker opens the handle without a probe', async () => {
    const { handle } = await openUrl(`${base}/file`);
    requests = [];
    const again = await openSource(structuredClone(handle));
    expect(requests).toEqual([]);
    expect(await read(again, 10, 4)).toEqual(file.subarray(10, 14));
  });

  test('passing failures are tried again', async () => {
    failures = 2;
    expect((await openUrl(`${base}/file`)).size).toBe(file.length);
    expect(requests.length).toBe(3);
  });

  test('an empty file', async () => {
    expect((await openUrl(`${base}/empty`)).size).toBe(0);
  });
});

describe('refusals', () => {
  test('a server without ranges', async () => {
    await expect(openUrl(`${base}/plain`)).rejects.toThrow(/does not answer range requests.*download the file/);
    await expect(openUrl(`${base}/plain`, { whole: 1000 })).rejects.toThrow(/range requests/);
    const whole = await openUrl(`${base}/plain`, { whole: file.length });
    expect(await read(whole, 100, 4)).toEqual(file.subarray(100, 104));
  });

  test('a file that is not there', async () => {
    expect(await openUrlIfThere(`${base}/absent`)).toBeUndefined();
    await expect(openUrl(`${base}/absent`)).rejects.toThrow(/no such file/);
  });

  test('a file that changes', async () => {
    const source = await openUrl(`${base}/file`);
    etag = '"2"';
    await expect(read(source, BLOCK_BYTES, 8)).rejects.toThrow(/changed on the server/);
    const { handle } = await openUrl(`${base}/file`);
    if (handle.kind !== 'url') throw new Error('not a URL');
    const other = await openSource({ ...handle, size: handle.size - 1 });
    await expect(read(other, 0, 8)).rejects.toThrow(/changed on the server/);
  });

  test('a body that ends early', async () => {
    const source = await openUrl(`${base}/short`);
    await expect(read(source, BLOCK_BYTES, 8)).rejects.toThrow(/cannot be reached.*bytes came/);
  });

  test('a server that is not there', async () => {
    await expect(openUrl('http://127.0.0.1:1/file')).rejects.toThrow(/cannot be reached/);
  });
});
