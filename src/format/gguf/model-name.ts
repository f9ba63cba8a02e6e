/**
 * A model's title and size from its folder's or repository's name, by the heuristics of gguf-py (metadata.py
 * `get_model_id_components`, `id_to_title`; utility.py `size_label`).
 */

export interface NameParts {
  name?: string;
  organization?: string;
  basename?: string;
  finetune?: string;
  version?: string;
  sizeLabel?: string;
}

type Kind = 'basename' | 'size' | 'finetune' | 'version' | 'type';
interface Part {
  text: string;
  kinds: Set<Kind>;
}

const VERSION = /^(v|iter)?\d+([.]\d+)*$/i;
const QUANTIZATION = /^(i?q\d(_\w)*|b?fp?(16|32))$/i;
const SIZE = /^((A|\d+x)?\d+([._]\d+)?[KMBT]\d?|small|mini|medium|large|x?xl)$/i;
const FINETUNE = /^(chat|instruct|vision|lora)$/i;

/**
 * @param id 'Meta-Llama-3-8B', with or without an organization before a slash; a name with spaces is taken as it is
 * @param parameters all weights of the model, by which a context length ('128k') is told from a size
 */
export function nameParts(id: string, parameters: number): NameParts {
  if (id.includes(' ')) return { name: title(id) };
  const slash = id.indexOf('/');
  const organization = slash > 0 && !id.startsWith('.') ? id.slice(0, slash) : undefined;
  const full = id.slice(slash + 1);
  const parts = full
    .split('-')
    .filter(Boolean)
    .map((text): Part => ({ text, kinds: new Set() }));
  parts.forEach((part, i) => {
    annotate(part, i, parameters);
  });
  preferNumbers(parts);
  markBasename(parts);

  const texts = (kind: Kind): string[] => parts.filter(({ kinds }) => kinds.has(kind)).map(({ text }) => text);
  const sizeLabel = [...new Set(texts('size'))].join('-');
  const finetune = texts('finetune').join('-');
  const version = parts
    .filter(({ kinds }) => kinds.has('version') && !kinds.has('basename'))
    .map(({ text }) => text)
    .join('-');
  const basename = texts('basename').join('-');
  return {
    name: title(full),
    ...(organization && { organization: title(organization) }),
    // A base name alone says too little to be believed.
    ...(basename && (sizeLabel || finetune || version) && { basename }),
    ...(finetune && { finetune }),
    ...(version && { version }),
    ...(sizeLabel && { sizeLabel }),
  };
}

function annotate(part: Part, index: number, parameters: number): void {
  const { text, kinds } = part;
  if (VERSION.test(text)) kinds.add('version');
  else if (QUANTIZATION.test(text)) {
    kinds.add('type');
    part.text = text.toUpperCase();
  } else if (index > 0 && SIZE.test(text)) {
    part.text = normalSize(text);
    const claimed = /^[\d.]+[KMBT]$/.test(part.text)
      ? Number(part.text.slice(0, -1)) * 1000 ** ' KMBT'.indexOf(part.text.at(-1)!)
      : undefined;
    if (parameters > 0 && claimed !== undefined && Math.abs(claimed - parameters) > Math.floor((7 * parameters) / 8)) {
      kinds.add('finetune');
      part.text = part.text.slice(0, -1) + part.text.slice(-1).toLowerCase();
    } else kinds.add('size');
  } else if (index > 0 && FINETUNE.test(text)) kinds.add('finetune');
}

/** '3.7m' -> '3.7M', '7b1' -> '7.1B'. */
function normalSize(text: string): string {
  let label = text.replaceAll('_', '.');
  if (/\d$/.test(label)) label = `${label.slice(0, -2)}.${label.at(-1)}${label.at(-2)}`;
  return /\d[kmbt]$/.test(label) ? label.slice(0, -1) + label.slice(-1).toUpperCase() : label;
}

/** Words like 'mini' are no sizes where a number says the size. */
function preferNumbers(parts: readonly Part[]): void {
  const sizes = parts.filter(({ kinds }) => kinds.has('size'));
  if (!sizes.some(({ text }) => /\d/.test(text))) return;
  for (const { text, kinds } of sizes) if (/^\p{L}+$/u.test(text)) kinds.delete('size');
}

/** The base name is what stands before the first annotated part, versions included unless they are last. */
function markBasename(parts: readonly Part[]): void {
  let start = true;
  for (const { text, kinds } of parts) {
    if (start && ((kinds.size === 0 && /^\p{L}/u.test(text)) || kinds.has('version'))) kinds.add('basename');
    else {
      start = false;
      if (kinds.size === 0) kinds.add('finetune');
    }
  }
  for (const { kinds } of parts.toReversed()) {
    if (!kinds.has('basename') || kinds.size === 1) break;
    kinds.delete('basename');
  }
}

/** 'tinystories-3.7m' -> 'Tinystories 3.7m': lower-case words get a capital, versions and acronyms stay. */
function title(id: string): string {
  return id
    .trim()
    .replaceAll('-', ' ')
    .split(/\s+/)
    .map((word) => {
      const lower = word === word.toLowerCase() && word !== word.toUpperCase();
      return lower && !/^(v\d+(\.\d+)*|\d.*)$/.test(word)
        ? word.replace(/\p{L}+/gu, (run) => run.charAt(0).toUpperCase() + run.slice(1))
        : word;
    })
    .join(' ');
}

const units: readonly (readonly [from: number, unit: string])[] = [
  [1e12, 'T'],
  [1e9, 'B'],
  [1e6, 'M'],
  [0, 'K'],
];

/** 260032 -> '260K', 3672320 -> '3.7M': at least two digits. */
export function sizeLabel(parameters: number): string {
  const [from, unit] = units.find(([least]) => parameters >= least)!;
  const scaled = parameters * (1 / (from || 1e3));
  const whole = `${Math.round(scaled)}`.replace(/^0+/, '');
  const digits = Math.max(2 - whole.length, 0);
  return `${fixedEven(scaled, digits)}${unit}`;
}

/** `toFixed` takes the larger of two equally near numbers, Python the even one. */
function fixedEven(value: number, digits: number): string {
  const halves = value * 2 ** (digits + 1);
  const text = value.toFixed(digits);
  const tie = Number.isInteger(halves) && halves % 2 === 1;
  return tie && Number(text.at(-1)) % 2 === 1 ? (Number(text) - 10 ** -digits).toFixed(digits) : text;
}
