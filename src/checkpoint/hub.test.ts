import { expect, test } from 'vitest';
import { filesOfHubPage } from './hub.ts';

test.each([
  ['https://huggingface.co/a/b', 'https://huggingface.co/a/b/resolve/main/'],
  ['https://huggingface.co/a/b/', 'https://huggingface.co/a/b/resolve/main/'],
  ['https://huggingface.co/a/b/tree/v2', 'https://huggingface.co/a/b/resolve/v2/'],
  ['https://huggingface.co/a/b/blob/main/x-Q4_0.gguf', 'https://huggingface.co/a/b/resolve/main/x-Q4_0.gguf'],
  ['https://huggingface.co/a/b/resolve/main/x.gguf', 'https://huggingface.co/a/b/resolve/main/x.gguf'],
  ['https://example.com/a/b', 'https://example.com/a/b'],
])('%s', (address, files) => {
  expect(filesOfHubPage(address)).toBe(files);
});
