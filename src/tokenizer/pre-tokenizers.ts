/**
 * How byte-level BPE vocabularies cut text into words before merging, by the names that GGUF gives in `tokenizer.ggml.pre`
 * (llama-vocab.cpp). GGUF stores only the name. Several patterns cut one after another, matches and gaps both being pieces.
 * The patterns are those of the models' own tokenizer.json files. llama.cpp cuts in the same way but for three that it
 * approximates: tekken and gpt-4o around combining marks, deepseek-coder around spaces outside of ASCII.
 */
export interface PreTokenizer {
  names: readonly string[];
  patterns: readonly string[];
  /** A word that is a token as a whole is not merged from its bytes. */
  ignoreMerges?: true;
  /** llama.cpp's default for models that do not say whether BOS comes first. */
  addBos?: true;
}

export const gpt2Pattern = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
export const contraction = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`;
const tail = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const lead = String.raw`[^\r\n\p{L}\p{N}]?`;
const casedTail = String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const llama3 = String.raw`${contraction}|${lead}\p{L}+|\p{N}{1,3}|${tail}`;
const qwen2 = String.raw`${contraction}|${lead}\p{L}+|\p{N}|${tail}`;

export const preTokenizers: readonly PreTokenizer[] = [
  {
    names: ['gpt-2', 'phi-2', 'jina-es', 'jina-de', 'jina-v2-es', 'jina-v2-de', 'gigachat', 'a.x-4.0', 'mellum', 'modern-bert'],
    patterns: [gpt2Pattern],
  },
  {
    names: ['mpt', 'olmo', 'jais', 'trillion', 'granite-docling', 'exaone4', 'roberta-bpe', 'jina-v1-en', 'jina-v2-code'],
    patterns: [gpt2Pattern],
  },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2', 'jina-v5-nano'],
    patterns: [llama3],
    ignoreMerges: true,
    addBos: true,
  },
  { names: ['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe'], patterns: [llama3] },
  {
    names: ['qwen2', 'deepseek-r1-qwen', 'kormo', 'f2llmv2', 'megrez', 'stablelm2', 'hunyuan', 'solar-open', 'grok-2'],
    patterns: [qwen2],
  },
  {
    names: ['qwen35'],
    patterns: [String.raw`${contraction}|${lead}[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`],
  },
  {
    names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'],
    patterns: [String.raw`\p{N}`, gpt2Pattern],
  },
  {
    names: ['tekken'],
    patterns: [String.raw`${lead}${upper}*${lower}+|${lead}${upper}+${lower}*|\p{N}|${casedTail}`],
    ignoreMerges: true,
    addBos: true,
  },
  {
    names: ['gpt-4o', 'llama4', 'kanana2', 'talkie', 'minimax-m2'],
    patterns: [
      String.raw`${lead}${upper}*${lower}+${contraction}?|${lead}${upper}+${lower}*${contraction}?|\p{N}{1,3}|${casedTail}`,
    ],
  },
  {
    names: ['deepseek-v3', 'hunyuan-dense', 'joyai-llm'],
    patterns: [
      String.raw`\p{N}{1,3}`,
      '[一-龥\u3040-ゟ゠-ヿ]+',
      String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${'`'}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  {
    names: ['deepseek-coder'],
    patterns: ['[\r\n]', String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, '[一-龥ࠀ-一가-\ud7ff]+', String.raw`\p{N}`],
  },
  { names: ['falcon'], patterns: [String.raw`[\p{P}\$\+<=>\^~\|${'`'}]+`, gpt2Pattern, '[0-9][0-9][0-9]'] },
  { names: ['bloom', 'poro-chat', 'gpt3-finnish'], patterns: [String.raw` ?[^(\s|.,!?…。，、।۔،)]+`] },
  { names: ['viking'], patterns: [String.raw` ?[^(\s|.,!?…。，、।۔،)]+`, String.raw`\p{N}`] },
  {
    names: ['seed-coder'],
    patterns: [String.raw`${contraction}|${lead}\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`],
  },
  { names: ['default'], patterns: [String.raw`[\p{P}\$\+<=>\^~\|]+`, gpt2Pattern, String.raw`\p{N}+`, '[0-9][0-9][0-9]'] },
];

export function preTokenizerNamed(name: string): PreTokenizer | undefined {
  return preTokenizers.find(({ names }) => names.includes(name));
}

/** A tokenizer.json `pre_tokenizer` that cuts in the same way. */
export function preTokenizerJson({ patterns }: PreTokenizer): {
  type: 'Sequence';
  pretokenizers: { type: string; [option: string]: string | boolean | { Regex: string } }[];
} {
  return {
    type: 'Sequence',
    pretokenizers: [
      ...patterns.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
}
