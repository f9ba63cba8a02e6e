/** A SentencePiece-like vocabulary of any size: three control tokens, 256 bytes, and made-up pieces that no text needs. */

const control = ['<unk>', '<s>', '</s>'];

function pieces(size: number): string[] {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const made = Array.from({ length: size - control.length - bytes.length }, (_, i) => `▁w${i}`);
  return [...control, ...bytes, ...made];
}

/** GGUF's arrays: token text, score, and type (1 normal, 2 unknown, 3 control, 6 byte). */
export function vocabulary(size: number): { tokens: string[]; scores: Float32Array; types: Int32Array } {
  const types = new Int32Array(size).fill(1);
  types.set([2, 3, 3]);
  types.fill(6, control.length, control.length + 256);
  return { tokens: pieces(size), scores: Float32Array.from({ length: size }, (_, i) => (types[i] === 1 ? -i : 0)), types };
}

/** The same as a tokenizer.json: byte-fallback BPE without merges. */
export function tokenizerJson(size: number): string {
  const special = (content: string, id: number): object => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: control.map(special),
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: false },
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces(size).map((piece, id) => [piece, id])),
      merges: [],
    },
  });
}
