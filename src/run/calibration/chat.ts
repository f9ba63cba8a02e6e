/** Calibration text in the form that a chat model sees. */
import { parseJsonObject } from '../../checkpoint/index.ts';
import type { Json, JsonObject } from '../../checkpoint/types.ts';
import { FormatError, ModelError } from '../../errors.ts';
import type { Model } from '../../format/types.ts';
import { read } from '../../io/index.ts';
import { type ChatMessage, renderChatTemplate } from '../../tokenizer/index.ts';

export interface ChatTemplate {
  template: string;
  /** `bos_token` and the like. */
  variables: Readonly<Record<string, string>>;
}

/** @throws ModelError when the model has no chat template */
export async function chatTemplateOf(model: Model): Promise<ChatTemplate> {
  const files = new Map((await model.folderFiles?.())?.texts.map(({ name, text }) => [name, text]));
  for (const { name, source } of model.checkpoint.sidecars)
    if (templateFiles.has(name)) files.set(name, new TextDecoder().decode(await read(source, 0, source.size)));
  const object = (name: string) => (files.has(name) ? parseJsonObject(files.get(name)!, name) : {});
  const config = object('tokenizer_config.json');
  const template =
    files.get('chat_template.jinja') ?? named(object('chat_template.json')['chat_template']) ?? named(config['chat_template']);
  if (template === undefined)
    throw new ModelError({ what: 'the model has no chat template', where: model.name, next: 'leave --chat-template out' });
  const tokens = Object.entries(config).flatMap(([key, value]) => {
    const text = key.endsWith('_token') ? tokenText(value) : undefined;
    return text === undefined ? [] : [[key, text]];
  });
  return { template, variables: Object.fromEntries(tokens) };
}

const templateFiles: ReadonlySet<string> = new Set(['chat_template.jinja', 'chat_template.json', 'tokenizer_config.json']);

/** A template, or the default one of a list of templates with names. */
function named(value: Json | undefined): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const entries = value.filter((entry): entry is JsonObject => typeof entry === 'object' && entry !== null);
  const chosen = entries.find(({ name }) => name === 'default') ?? entries[0];
  return typeof chosen?.['template'] === 'string' ? chosen['template'] : undefined;
}

function tokenText(value: Json | undefined): string | undefined {
  const text = typeof value === 'object' && value !== null && !Array.isArray(value) ? value['content'] : value;
  return typeof text === 'string' ? text : undefined;
}

/**
 * Conversations of a text, rendered one by one: JSON lines with `messages` or `text`, else paragraphs (lines where there are no empty
 * lines), each what a user says.
 * @throws FormatError for a line that is neither
 */
export function renderedChats(text: string, { template, variables }: ChatTemplate): string[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const conversations = lines[0]?.trimStart().startsWith('{') ? lines.map(fromJson) : paragraphs(text, lines).map(said);
  return conversations.map((messages) => renderChatTemplate(template, messages, { addGenerationPrompt: false, variables }));
}

function paragraphs(text: string, lines: readonly string[]): readonly string[] {
  const parts = text.split(/\r?\n[ \t]*\r?\n/).map((part) => part.trim());
  return parts.length > 1 ? parts.filter((part) => part !== '') : lines;
}

const said = (content: string): ChatMessage[] => [{ role: 'user', content }];

function fromJson(line: string, i: number): ChatMessage[] {
  const where = `line ${i + 1} of the calibration text`;
  const { messages, text } = parseJsonObject(line, where);
  if (typeof text === 'string') return said(text);
  if (Array.isArray(messages) && messages.length > 0 && messages.every(isMessage)) return messages as unknown as ChatMessage[];
  throw new FormatError({ what: 'a conversation is {"messages": [{"role", "content"}]} or {"text"}', where });
}

function isMessage(value: Json): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return typeof value['role'] === 'string' && typeof value['content'] === 'string';
}
