import { expect, test } from 'vitest';
import { renderChatTemplate } from './chat-template.ts';

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi!' },
];

const chatml = `{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}`;

test('messages become text', () => {
  const text = '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n';
  expect(renderChatTemplate(chatml, messages)).toBe(`${text}<|im_start|>assistant\n`);
  expect(renderChatTemplate(chatml, messages, { addGenerationPrompt: false })).toBe(text);
});

test('variables and range', () => {
  const template = '{{ bos_token }}{% for i in range(1, 4) %}{{ i }}{{ messages[1].content }}{% endfor %}';
  expect(renderChatTemplate(template, messages, { variables: { bos_token: '<s>' } })).toBe('<s>1Hi!2Hi!3Hi!');
  expect(renderChatTemplate('{{ strftime_now is defined }}', [])).toBe('false');
});

test('a template may refuse', () => {
  expect(() => renderChatTemplate("{{ raise_exception('roles must alternate') }}", messages)).toThrow(/roles must alternate/);
});

test.each([
  ['counts to infinity', '{% for i in range(90000) %}{% for j in range(90000) %}{% set x = i %}{% endfor %}{% endfor %}'],
  ['asks for a huge range', '{{ range(1000000000) }}'],
  ['asks for an endless range', '{{ range(0, 1, 0) }}'],
  [
    'doubles a text',
    `{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}`,
  ],
  ['is too long', ' '.repeat((1 << 20) + 1)],
])('a template that %s is stopped', (_, template) => {
  expect(() => renderChatTemplate(template, messages)).toThrow(expect.objectContaining({ name: 'LimitError' }));
});

test.each([
  ['does not parse', '{% for %}'],
  ['nests too deep', `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`],
  ['calls what is not there', '{{ messages.constructor.constructor("return 1")() }}'],
])('a template that %s gives a ModelError', (_, template) => {
  expect(() => renderChatTemplate(template, messages)).toThrow(expect.objectContaining({ name: 'ModelError' }));
});
