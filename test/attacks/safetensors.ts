import type { Attack } from './attack.ts';
import { safetensors } from './bytes.ts';

const row = (name: string, shape: string, offsets: string, dtype = 'F32') =>
  `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;

export const safetensorsAttacks: Attack[] = [
  {
    file: 'header-past-end.safetensors',
    class: 'header length trusted',
    ids: ['CWE-789'],
    expected: 'header reaches past the end',
    bytes: safetensors('{}', 0, 99_999_999),
  },
  {
    file: 'header-over-limit.safetensors',
    class: 'header length trusted',
    ids: ['CWE-770'],
    expected: 'header length is too large',
    bytes: safetensors('{}', 0, 100_000_001),
  },
  {
    file: 'header-2-64.safetensors',
    class: 'u64 past 2^53',
    expected: 'header length is too large',
    bytes: safetensors('{}', 0, 2n ** 64n - 1n),
  },
  {
    file: 'name-twice.safetensors',
    class: 'duplicate names',
    ids: ['safetensors #444'],
    expected: 'same key twice',
    bytes: safetensors(`{${row('a', '[1]', '[0,4]')},${row('a', '[1]', '[4,8]')}}`, 8),
  },
  {
    file: 'name-twice-escaped.safetensors',
    class: 'duplicate names',
    ids: ['safetensors #444'],
    expected: 'same key twice',
    bytes: safetensors(`{${row('a', '[1]', '[0,4]')},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8),
  },
  {
    file: 'overlap.safetensors',
    class: 'overlapping tensors',
    ids: ['safetensors #444'],
    expected: 'overlaps',
    bytes: safetensors(`{${row('a', '[2]', '[0,8]')},${row('b', '[2]', '[4,12]')}}`, 12),
  },
  {
    file: 'hole.safetensors',
    class: 'hidden bytes between tensors',
    ids: ['safetensors #444'],
    expected: 'hole',
    bytes: safetensors(`{${row('a', '[1]', '[0,4]')},${row('b', '[1]', '[8,12]')}}`, 12),
  },
  {
    file: 'hidden-tail.safetensors',
    class: 'hidden bytes after the tensors',
    ids: ['safetensors #444'],
    expected: 'after the last tensor',
    bytes: safetensors(`{${row('a', '[1]', '[0,4]')}}`, 64),
  },
  {
    file: 'data-past-end.safetensors',
    class: 'offset + size past the end',
    expected: 'past the end of the file',
    bytes: safetensors(`{${row('a', '[1000000]', '[0,4000000]')}}`, 4),
  },
  {
    file: 'shape-overflow.safetensors',
    class: 'product of dimensions overflows',
    ids: ['CWE-190'],
    expected: 'shape overflows',
    bytes: safetensors(`{${row('a', '[4294967296,4294967296]', '[0,4]')}}`, 4),
  },
  {
    file: 'shape-rank.safetensors',
    class: 'number of dimensions trusted',
    ids: ['CWE-770'],
    expected: 'a list is longer than',
    bytes: safetensors(`{${row('a', `[${'1,'.repeat(999)}1]`, '[0,4]')}}`, 4),
  },
  {
    file: 'offset-2-63.safetensors',
    class: 'u64 past 2^53',
    expected: 'past 2^53',
    bytes: safetensors(`{${row('a', '[1]', '[9223372036854775804,9223372036854775808]')}}`, 4),
  },
  {
    file: 'offset-negative.safetensors',
    class: 'negative offset',
    expected: 'non-negative integer',
    bytes: safetensors(`{${row('a', '[1]', '[-4,0]')}}`, 4),
  },
  {
    file: 'nested.safetensors',
    class: 'recursion in the header',
    ids: ['CWE-674'],
    expected: 'was expected',
    bytes: safetensors(`{"a":${'['.repeat(20_000)}`),
  },
  {
    file: 'metadata-object.safetensors',
    class: 'metadata of another type',
    expected: 'a string was expected',
    bytes: safetensors('{"__metadata__":{"a":{}}}'),
  },
  {
    file: 'carried-proto.safetensors',
    class: '__proto__ as a name',
    ids: ['CWE-1321'],
    bytes: safetensors(
      `{"__metadata__":{"__proto__":"polluted"},${row('__proto__', '[1]', '[0,4]')},${row('constructor', '[1]', '[4,8]')}}`,
      8,
    ),
  },
  {
    file: 'carried-escapes.safetensors',
    class: 'terminal escapes in names',
    ids: ['CWE-150'],
    bytes: safetensors(`{${row('\u001b[2J', '[1]', '[0,4]')}}`, 4),
  },
  {
    file: 'escapes-in-message.safetensors',
    class: 'terminal escapes in names',
    ids: ['CWE-150'],
    expected: '\\u001b[2J',
    bytes: safetensors(`{${row('\u001b[2J', '[1]', '[0,4]', 'F7')}}`, 4),
  },
];
