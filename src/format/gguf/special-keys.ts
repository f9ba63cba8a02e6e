/** Special token ids, the add_* flags and the chat template as gguf-py finds them (vocab.py `SpecialVocab`). */
import type { GgufValue, Json, JsonObject } from '../../checkpoint/types.ts';
import { entries, list } from '../../tokenizer/json.ts';
import { content } from '../../tokenizer/special-tokens.ts';
import type { Sidecars } from './sidecars.ts';

/** In the order in which they are looked for; keys as llama.cpp spells them, the misspelled one too. */
const idKeys = {
  bos: 'bos_token_id',
  eos: 'eos_token_id',
  unk: 'unknown_token_id',
  sep: 'seperator_token_id',
  pad: 'padding_token_id',
  cls: 'cls_token_id',
  mask: 'mask_token_id',
} as const;
type Kind = keyof typeof idKeys;
const kinds = Object.keys(idKeys) as Kind[];

/** Flags that GGUF has a key for. */
const flags: readonly Kind[] = ['bos', 'eos', 'sep'];

export function specialKeys(sidecars: Sidecars, config: JsonObject, vocab: number): [key: string, value: GgufValue][] {
  const tokenizerJson = sidecars.object('tokenizer.json');
  const tokenizerConfig = sidecars.object('tokenizer_config.json');
  const add = new Map<Kind, boolean>(tokenizerJson ? templateFlags(tokenizerJson, tokenizerConfig) : []);
  const ids = new Map<Kind, number>();
  const setId = (kind: Kind, id: Json | undefined): void => {
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocab && !ids.has(kind)) ids.set(kind, id);
  };
  const addedTokens = list(tokenizerJson?.['added_tokens']).map(entries);
  for (const kind of tokenizerConfig ? kinds : []) {
    const flag = tokenizerConfig?.[`add_${kind}_token`];
    if (typeof flag === 'boolean') add.set(kind, flag);
    const token = content(tokenizerConfig?.[`${kind}_token`]);
    if (token !== undefined) setId(kind, addedTokens.find((one) => one['content'] === token)?.['id']);
  }
  for (const kind of kinds) setId(kind, config[`${kind}_token_id`]);

  return [
    ...[...ids].map(([kind, value]) => [`tokenizer.ggml.${idKeys[kind]}`, { type: 'u32', value }] as [string, GgufValue]),
    ...[...add].flatMap(([kind, value]): [string, GgufValue][] =>
      flags.includes(kind) ? [[`tokenizer.ggml.add_${kind}_token`, { type: 'bool', value }]] : [],
    ),
    ...(tokenizerConfig ? chatTemplateKeys(sidecars, tokenizerConfig) : []),
  ];
}

/** Which special tokens the post-processor puts around a text. */
function templateFlags(tokenizerJson: JsonObject, tokenizerConfig: JsonObject | undefined): [Kind, boolean][] {
  const post = entries(tokenizerJson['post_processor']);
  const processors = Array.isArray(post['processors']) ? post['processors'].map(entries) : [post];
  const named = (kind: Kind): string | undefined => content(tokenizerConfig?.[`${kind}_token`]);
  return processors.flatMap((processor): [Kind, boolean][] => {
    if (processor['type'] !== 'TemplateProcessing') return [];
    const single = list(processor['single']);
    if (single.length < 2) return [];
    const first = specialToken(single[0]);
    const last = specialToken(single.at(-1));
    const bos = named('bos') ?? named('cls');
    return [
      ...(first ? [['bos', tokenizerConfig ? first === bos : true] as [Kind, boolean]] : []),
      // A token that ends every text is the end of a text, whatever the configuration calls it.
      ...(last ? [['eos', true] as [Kind, boolean]] : []),
    ];
  });
}

function specialToken(step: Json | undefined): string | undefined {
  const id = entries(entries(step)['SpecialToken'])['id'];
  return typeof id === 'string' ? id : undefined;
}

/** One template, or several by name, of which `default` is the one. */
function chatTemplateKeys(sidecars: Sidecars, tokenizerConfig: JsonObject): [string, GgufValue][] {
  const template =
    tokenizerConfig['chat_template'] ??
    sidecars.text('chat_template.jinja') ??
    sidecars.object('chat_template.json')?.['chat_template'];
  if (typeof template === 'string') return template ? [['tokenizer.chat_template', { type: 'string', value: template }]] : [];
  const named = new Map<string, string>();
  for (const choice of list(template).map(entries)) {
    const { name, template: text } = choice;
    if (typeof name === 'string' && name && typeof text === 'string') named.set(name.replace(/[^A-Za-z0-9]/g, '_'), text);
  }
  const one = named.get('default');
  named.delete('default');
  return [
    ...[...named].map(([name, value]): [string, GgufValue] => [`tokenizer.chat_template.${name}`, { type: 'string', value }]),
    ...(named.size
      ? [['tokenizer.chat_templates', { type: 'array', of: 'string', value: [...named.keys()] }] as [string, GgufValue]]
      : []),
    ...(one ? [['tokenizer.chat_template', { type: 'string', value: one }] as [string, GgufValue]] : []),
  ];
}
