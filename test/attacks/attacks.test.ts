import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint, readTensor } from '../../src/checkpoint/index.ts';
import { FewbitsError } from '../../src/errors.ts';
import { MemoryStore } from '../../src/io/memory.ts';
import { type Allocations, countAllocations } from './allocations.ts';
import { ascii } from './bytes.ts';
import { attacks, folderAttacks } from './make.ts';

const MAX_MS = 1000;
const MAX_BYTES = 64 * 2 ** 20;

const folder = new URL('files/', import.meta.url);
const pathOf = (file: string) => fileURLToPath(new URL(file, folder));

let allocations: Allocations;
beforeAll(() => {
  // UPDATE_ATTACKS=1 writes the files from make.ts.
  if (process.env['UPDATE_ATTACKS']) {
    mkdirSync(folder, { recursive: true });
    for (const { file, bytes } of attacks) writeFileSync(pathOf(file), bytes);
  }
  allocations = countAllocations();
});
afterAll(() => allocations.stop());

/** Opens and reads everything; gives the error, if any. The bounds on time and memory hold either way. */
async function attempt(open: () => Promise<Checkpoint>): Promise<{ checkpoint?: Checkpoint; error?: unknown }> {
  const start = performance.now();
  const before = process.resourceUsage().maxRSS;
  allocations.reset();
  let outcome: { checkpoint?: Checkpoint; error?: unknown };
  try {
    const checkpoint = await open();
    for (const entry of checkpoint.tensors.values()) await readTensor(entry);
    outcome = { checkpoint };
  } catch (error) {
    outcome = { error };
  }
  expect(performance.now() - start).toBeLessThan(MAX_MS);
  expect(allocations.bytes()).toBeLessThan(MAX_BYTES);
  expect((process.resourceUsage().maxRSS - before) * 1024).toBeLessThan(MAX_BYTES);
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  return outcome;
}

function expectRefusal(error: unknown, expected: string) {
  expect(error).toBeInstanceOf(FewbitsError);
  const { message } = error as Error;
  expect(message).toContain(expected);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there
  expect(message).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
}

test('allocations are counted', () => {
  allocations.reset();
  expect(new Uint8Array(1000).length + new ArrayBuffer(24).byteLength).toBe(1024);
  expect(allocations.bytes()).toBe(1024);
});

test('the files are those of make.ts', () => {
  expect(new Set(attacks.map(({ file }) => file)).size).toBe(attacks.length);
  for (const { file, bytes } of attacks) {
    expect(existsSync(pathOf(file)), file).toBe(true);
    expect(Buffer.from(bytes).equals(readFileSync(pathOf(file))), file).toBe(true);
  }
});

describe('refused', () => {
  const refused = attacks.filter(({ expected }) => expected !== undefined);
  test.each(refused)('$file: $class', async ({ file, expected }) => {
    const { error } = await attempt(() => openCheckpoint(pathOf(file)));
    expectRefusal(error, expected!);
  });

  test.each(folderAttacks)('folder: $class', async ({ files, expected }) => {
    const store = new MemoryStore(
      'attack',
      Object.entries(files).map(([name, text]) => [name, ascii(text)] as const),
    );
    const { error } = await attempt(() => openCheckpoint({ store }));
    expectRefusal(error, expected!);
  });
});

describe('carried as data', () => {
  const open = async (file: string) => {
    const { checkpoint, error } = await attempt(() => openCheckpoint(pathOf(file)));
    expect(error).toBeUndefined();
    return checkpoint!;
  };

  test('names of object internals are names', async () => {
    const gguf = await open('carried-proto.gguf');
    expect([...gguf.gguf!.keys()]).toEqual(['__proto__', 'constructor']);
    expect([...gguf.tensors.keys()]).toEqual(['__proto__']);
    const bag = await open('carried-proto.safetensors');
    expect([...bag.tensors.keys()]).toEqual(['__proto__', 'constructor']);
    expect(bag.metadata!.get('__proto__')).toBe('polluted');
  });

  test('escapes stay in the names, errors show them', async () => {
    expect([...(await open('carried-escapes.gguf')).tensors.keys()]).toEqual(['\u001b[31mred']);
    expect([...(await open('carried-escapes.safetensors')).tensors.keys()]).toEqual(['\u001b[2J']);
  });

  test.each([
    ['carried-chat-template.gguf', 'tokenizer.chat_template', '{{ cycler.__init__.__globals__.os.popen("id").read() }}'],
    ['carried-token-negative.gguf', 'tokenizer.ggml.tokens', ['<0x-1>']],
    ['carried-block-count.gguf', 'llama.block_count', 0xffffffff],
    ['carried-u64.gguf', 'k', 2n ** 64n - 1n],
  ] as const)('%s', async (file, key, value) => {
    expect((await open(file)).gguf!.get(key)?.value).toEqual(value);
  });

  test('every such file is looked at here', () => {
    expect(attacks.filter(({ expected }) => expected === undefined).length).toBe(8);
  });
});
