/**
 * Chat templates: Jinja programs that come with a model and turn messages into text. They run in an interpreter without
 * access to anything, but a hostile one can still count to infinity: steps, output and ranges are bounded.
 */
import { LimitError, ModelError } from '../errors.ts';
import { Environment, Interpreter, type JinjaEnvironment, parse, tokenize } from './library.ts';

export interface ChatMessage {
  role: string;
  content: string;
}

export interface ChatTemplateOptions {
  /** Ends the text with the beginning of the assistant's answer. Default true. */
  addGenerationPrompt?: boolean;
  /** Further variables of the template: `bos_token`, `eos_token`, `tools`, `enable_thinking`... */
  variables?: Readonly<Record<string, unknown>>;
}

/** Templates in use are below 40 KB. */
const MAX_TEMPLATE = 1 << 20;
/** Characters of any string that a template makes. */
const MAX_OUTPUT = 16 << 20;
/** Evaluated nodes: a long conversation takes some ten thousand. */
const MAX_STEPS = 1_000_000;
const MAX_MILLISECONDS = 2_000;
const MAX_RANGE = 100_000;

/**
 * @throws ModelError when the template cannot be parsed or raises an exception, LimitError when it runs too long
 */
export function renderChatTemplate(
  template: string,
  messages: readonly ChatMessage[],
  { addGenerationPrompt = true, variables = {} }: ChatTemplateOptions = {},
): string {
  if (template.length > MAX_TEMPLATE) throw limit('the chat template is too long', template.length, MAX_TEMPLATE);
  const environment = new Environment();
  const globals = {
    // No clock: the same messages give the same text. Templates ask whether `strftime_now` is defined.
    ...{ true: true, false: false, none: null, True: true, False: false, None: null },
    range: boundedRange,
    raise_exception(message: unknown): never {
      throw new ModelError({ what: `the chat template refuses these messages: ${message}` });
    },
    ...variables,
    messages,
    add_generation_prompt: addGenerationPrompt,
  };
  try {
    for (const [name, value] of Object.entries(globals)) environment.set(name, value);
    const program = parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }));
    return `${new BoundedInterpreter(environment).run(program).value}`;
  } catch (cause) {
    if (cause instanceof ModelError || cause instanceof LimitError) throw cause;
    throw new ModelError({
      what: `the chat template fails: ${cause instanceof Error ? cause.message : cause}`,
      where: 'chat_template',
    });
  }
}

class BoundedInterpreter extends Interpreter {
  #steps = 0;
  readonly #deadline = Date.now() + MAX_MILLISECONDS;

  override evaluate(node: unknown, environment: JinjaEnvironment): { value: unknown } {
    if (++this.#steps > MAX_STEPS) throw limit('the chat template takes too many steps', this.#steps, MAX_STEPS);
    if (this.#steps % 1024 === 0 && Date.now() > this.#deadline) {
      throw limit('the chat template runs too long', `more than ${MAX_MILLISECONDS} ms`, `${MAX_MILLISECONDS} ms`);
    }
    const result = super.evaluate(node, environment);
    if (typeof result.value === 'string' && result.value.length > MAX_OUTPUT) {
      throw limit('the chat template writes too much', result.value.length, MAX_OUTPUT);
    }
    return result;
  }
}

/** Python's `range`. */
function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const count = step === 0 ? Number.NaN : Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= MAX_RANGE)) throw limit('a range in the chat template is too long', count, MAX_RANGE);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

function limit(what: string, value: number | string, bound: number | string): LimitError {
  return new LimitError({ what, where: 'chat_template', value, limit: bound, next: 'use a template that you trust' });
}
