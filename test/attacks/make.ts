import type { Attack } from './attack.ts';
import { join } from './bytes.ts';
import { ggufAttacks } from './gguf.ts';
import { safetensorsAttacks } from './safetensors.ts';

const otherAttacks: Attack[] = [
  {
    file: 'pickle.bin',
    class: 'pickle runs code',
    ids: ['CWE-502', 'safetensors #444'],
    expected: 'pickle is never read',
    bytes: join(Uint8Array.of(0x80, 2), 'cposix\nsystem\nX\u0002\u0000\u0000\u0000id\u0085R.'),
  },
  {
    file: 'pickle.zip.pt',
    class: 'pickle runs code',
    ids: ['CWE-502'],
    expected: 'pickle is never read',
    bytes: join('PK', Uint8Array.of(3, 4), 'archive/data.pkl'),
  },
  {
    file: 'pickle-renamed.gguf',
    class: 'pickle under another name',
    ids: ['CWE-502'],
    expected: 'the magic is wrong',
    bytes: join(Uint8Array.of(0x80, 2), 'cposix\nsystem\nX\u0002\u0000\u0000\u0000id\u0085R.'),
  },
];

export const attacks: readonly Attack[] = [...ggufAttacks, ...safetensorsAttacks, ...otherAttacks];

/** Folders: what config.json or an index of shards may try. Name in the folder -> text. */
export const folderAttacks: readonly (Omit<Attack, 'bytes' | 'file'> & { readonly files: Readonly<Record<string, string>> })[] = [
  {
    class: '__proto__ in config.json',
    ids: ['CWE-1321'],
    expected: 'a key is not allowed',
    files: { 'config.json': '{"__proto__":{"polluted":true}}' },
  },
  {
    class: 'recursion in config.json',
    ids: ['CWE-674'],
    expected: 'nested deeper',
    files: { 'config.json': `{"a":${'['.repeat(100_000)}` },
  },
  { class: 'keys twice in config.json', expected: 'same key twice', files: { 'config.json': '{"a":1,"a":2}' } },
  {
    class: 'shard outside the folder',
    ids: ['CWE-22'],
    expected: 'not a plain .safetensors file name',
    files: { 'config.json': '{}', 'model.safetensors.index.json': '{"weight_map":{"a":"../../../etc/passwd"}}' },
  },
  {
    class: 'shard on another server',
    ids: ['CWE-918'],
    expected: 'not a plain .safetensors file name',
    files: { 'config.json': '{}', 'model.safetensors.index.json': '{"weight_map":{"a":"http://169.254.169.254/x.safetensors"}}' },
  },
  {
    class: 'pickle as the only weights',
    ids: ['CWE-502'],
    expected: 'pickle is never read',
    files: { 'config.json': '{}', 'pytorch_model.bin': 'x' },
  },
];
