/** Perplexity, comparison and generation of models whose figures can be worked out by hand: logits depend on the last token alone. */
import { describe, expect, it } from 'vitest';
import { ModelError, NumericError, RecipeError } from '../errors.ts';
import type { LanguageModel } from '../graph/types.ts';
import type { ModelSpec } from '../model/types.ts';
import { Random } from '../numeric/random.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import { compare } from './compare.ts';
import { generate } from './generate.ts';
import { evaluate } from './perplexity.ts';

const vocab = 5;
/** A token a character: 'a' is 0. */
const tokenizer: Tokenizer = {
  vocabSize: vocab,
  eosIds: [4],
  addBos: false,
  encode: (text) => Int32Array.from(text, (c) => c.charCodeAt(0) - 97),
  decode: (ids) => String.fromCharCode(...Array.from(ids, (id) => id + 97)),
};

/** table: [vocab, vocab] logits of the next token by the last one. */
function bigram(table: Float32Array, context = 8, size = vocab): LanguageModel {
  const rows = async (ids: Int32Array): Promise<Float32Array> => {
    const logits = new Float32Array(ids.length * size);
    for (const [i, id] of ids.entries()) logits.set(table.subarray(id * size, (id + 1) * size), i * size);
    return logits;
  };
  return {
    spec: { vocab: size, context, rope: { scaling: { kind: 'none' } } } as ModelSpec,
    backend: 'native',
    logits: rows,
    losses: async (ids, batch, length) => {
      const losses = new Float32Array(batch * (length - 1));
      for (let b = 0; b < batch; b++) {
        for (let t = 0; t + 1 < length; t++) {
          const at = b * length + t;
          losses[b * (length - 1) + t] = nll(table, size, ids[at]!, ids[at + 1]!);
        }
      }
      return losses;
    },
    hidden: () => Promise.reject(new Error('not needed')),
    decoder: async (batch = 1) => {
      let length = 0;
      return {
        get length() {
          return length;
        },
        step: (ids) => {
          length += ids.length / batch;
          return rows(ids);
        },
        close: async () => {},
      };
    },
    withCache: () => bigram(table, context, size),
    close: async () => {},
  };
}

function nll(table: Float32Array, size: number, last: number, next: number): number {
  const row = table.subarray(last * size, (last + 1) * size);
  return Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[next]!;
}

const uniform = new Float32Array(vocab * vocab);
/** The next letter of the alphabet has three times the weight of each of the others. */
const alphabet = Float32Array.from({ length: vocab * vocab }, (_, i) =>
  i % vocab === Math.floor(i / vocab) + 1 ? Math.log(3) : 0,
);

describe('evaluate', () => {
  it('gives the perplexity of an even choice', async () => {
    const result = await evaluate(bigram(uniform), tokenizer, 'abcdabcdab', { protocol: 'strided', context: 4 });
    expect(result).toMatchObject({ tokens: 6, nll: expect.closeTo(Math.log(5), 6), standardError: expect.closeTo(0, 6) });
    expect(result.perplexity).toBeCloseTo(5, 5);
  });

  it('gives mean and standard error over the scored tokens', async () => {
    // abcd: b, c, d follow as expected (ln 7/3 each); ddaa: d, a, a do not (ln 7 each).
    const result = await evaluate(bigram(alphabet), tokenizer, 'abcdddaa', { protocol: 'strided', context: 4 });
    const [good, bad] = [Math.log(7 / 3), Math.log(7)];
    expect(result.nll).toBeCloseTo((good + bad) / 2, 6);
    expect(result.standardError).toBeCloseTo((bad - good) / 2 / Math.sqrt(5), 6);
    expect(result.perplexity).toBeCloseTo(Math.sqrt(49 / 3), 5);
  });

  it('scores the second half of chunks by default', async () => {
    // Chunks abcd, aaaa of 4: positions 2 of each predict d and a.
    const result = await evaluate(bigram(alphabet), tokenizer, 'abcdaaaab', { context: 4 });
    expect(result).toMatchObject({ tokens: 2, nll: expect.closeTo((Math.log(7 / 3) + Math.log(7)) / 2, 6) });
  });

  it('does not depend on the batch, reports progress and can be stopped', async () => {
    const text = 'abcdddaacbbadcabdcbbdabcadbcab';
    const seen: number[] = [];
    const options = { protocol: 'strided', context: 4, stride: 3 } as const;
    const { seconds: _, ...one } = await evaluate(bigram(alphabet), tokenizer, text, {
      ...options,
      batch: 1,
      onProgress: ({ done, total }) => seen.push(done / total),
    });
    expect(await evaluate(bigram(alphabet), tokenizer, text, { ...options, batch: 3 })).toMatchObject(one);
    expect(seen).toHaveLength(9);
    expect(seen.at(-1)).toBe(1);
    const signal = AbortSignal.abort();
    await expect(evaluate(bigram(alphabet), tokenizer, text, { ...options, signal })).rejects.toThrow(/abort/);
  });

  it('refuses losses that are not finite', async () => {
    await expect(evaluate(bigram(uniform.map(() => NaN)), tokenizer, 'abcd', { context: 4 })).rejects.toThrow(NumericError);
  });
});

describe('compare', () => {
  it('is zero against itself', async () => {
    const { reference, models } = await compare(bigram(alphabet), [bigram(alphabet)], tokenizer, 'abcdddaa', {
      protocol: 'strided',
      context: 4,
    });
    expect(models[0]).toEqual({
      ...reference,
      perplexityRatio: 1,
      perplexityRatioError: 0,
      kl: { mean: 0, error: 0, median: 0, p90: 0, p99: 0, max: 0 },
      sameTop: 1,
      sameTopError: 0,
    });
  });

  it('gives KL, ratio and same-top by hand', async () => {
    const { reference, models } = await compare(bigram(alphabet), [bigram(uniform), bigram(alphabet)], tokenizer, 'abcdddaa', {
      protocol: 'strided',
      context: 4,
    });
    expect(reference.nll).toBeCloseTo((Math.log(7 / 3) + Math.log(7)) / 2, 6);
    expect(reference.tokens).toBe(6);
    // p = 3/7 and four times 1/7, q = 1/5, whatever the last token.
    const kl = (3 / 7) * Math.log(15 / 7) + (4 / 7) * Math.log(5 / 7);
    const even = models[0]!;
    for (const figure of [even.kl.mean, even.kl.median, even.kl.p90, even.kl.p99, even.kl.max]) expect(figure).toBeCloseTo(kl, 6);
    expect(even.perplexityRatio).toBeCloseTo(5 / Math.sqrt(49 / 3), 6);
    // Differences of the losses: ln(5) - ln(7/3) and ln(5) - ln(7), three times each.
    expect(even.perplexityRatioError).toBeCloseTo((even.perplexityRatio * Math.log(3)) / 2 / Math.sqrt(5), 6);
    // Last tokens a, b, c, d, d, a: the even choice ties, so 'a' is its top; the alphabet's are b, c, d, e, e, b.
    expect(even.sameTop).toBe(0);
    expect(models[1]!.sameTop).toBe(1);
  });

  it('gives the same through the KV cache where the logits of a window exceed their bound', async () => {
    const random = new Random(3);
    const noise = alphabet.map((x) => x + random.gaussian() / 4);
    const steps: number[] = [];
    const spied = bigram(noise);
    const decoder = async (batch = 1) => {
      const inner = await spied.decoder(batch);
      return {
        length: 0,
        step: (ids: Int32Array) => {
          steps.push(ids.length);
          return inner.step(ids);
        },
        close: () => inner.close(),
      };
    };
    const text = 'abcdddaacbbadcabdcbbdabc';
    const run = (options: { batch?: number; logitBytes?: number }) =>
      compare(bigram(alphabet), [{ ...spied, decoder }], tokenizer, text, { context: 8, ...options });
    const { seconds: _, ...whole } = await run({});
    expect(steps).toEqual([]);
    expect(await run({ logitBytes: 3 * vocab * 4 })).toMatchObject(whole);
    // Three windows of 8, three positions a step.
    expect(steps).toEqual([3, 3, 2, 3, 3, 2, 3, 3, 2]);
    expect(whole.models[0]!.kl.mean).toBeGreaterThan(0.005);
  });

  it('names vocabularies that differ', async () => {
    const other = bigram(new Float32Array(36), 8, 6);
    await expect(compare(bigram(uniform), [bigram(uniform), other], tokenizer, 'abcd', { context: 4 })).rejects.toThrow(
      new ModelError({
        what: 'model 2 has a vocabulary of 6 tokens, the reference one of 5',
        next: 'KL divergence needs models that share one vocabulary',
      }).message,
    );
    await expect(compare(bigram(uniform), [], tokenizer, 'abcd')).rejects.toThrow(RecipeError);
  });
});

describe('generate', () => {
  it('is greedy and stops at the end of text', async () => {
    const pieces: string[] = [];
    const result = await generate(bigram(alphabet), tokenizer, 'a', { tokens: 10, onToken: ({ text }) => pieces.push(text) });
    expect(result).toMatchObject({ text: 'bcd', ids: [1, 2, 3], tokens: 3, stopped: 'eos' });
    expect(pieces).toEqual(['b', 'c', 'd']);
  });

  it('stops after the tokens asked for, or where the context is full', async () => {
    const loop = alphabet.slice();
    loop[3 * vocab] = 9; // d -> a
    expect(await generate(bigram(loop), tokenizer, 'ab', { tokens: 3 })).toMatchObject({ text: 'cda', stopped: 'tokens' });
    expect(await generate(bigram(loop), tokenizer, 'ab', { tokens: 0 })).toMatchObject({ text: '', tokensPerSecond: 0 });
    // A context of 8 holds 'abcdabcd'; the token after it needs no place.
    expect(await generate(bigram(loop), tokenizer, 'ab', { tokens: 99 })).toMatchObject({ text: 'cdabcda', stopped: 'context' });
  });

  it('samples the same text for the same seed, with the frequencies of the softmax', async () => {
    const flat = alphabet.map((x, i) => (i % vocab === 4 ? -1e9 : x));
    const run = (seed: number, temperature = 1, topP = 1) =>
      generate(bigram(flat, 4000), tokenizer, 'a', { tokens: 3000, temperature, topP, seed });
    const [one, again, other] = [await run(1), await run(1), await run(2)];
    expect(again.text).toBe(one.text);
    expect(other.text).not.toBe(one.text);
    const share = (text: string) => {
      const follow = [...text].slice(0, -1).flatMap((c, i) => (c === 'a' ? [text[i + 1]] : []));
      return follow.filter((c) => c === 'b').length / follow.length;
    };
    // After 'a': weights 1, 3, 1, 1. At temperature 1/2 they are squared: 1, 9, 1, 1.
    expect(share(one.text)).toBeCloseTo(1 / 2, 1);
    expect(share((await run(1, 0.5)).text)).toBeCloseTo(3 / 4, 1);
    // The nucleus of 1/2 after 'a' is 'b' alone.
    expect((await run(1, 1, 0.5)).text.startsWith('bcd')).toBe(true);
  });

  it('starts an empty prompt with the end-of-text token and refuses what it cannot do', async () => {
    expect(await generate(bigram(alphabet), tokenizer, '', { tokens: 1 })).toMatchObject({ text: 'a' });
    await expect(generate(bigram(alphabet), { ...tokenizer, eosIds: [] }, '')).rejects.toThrow('the prompt is empty');
    await expect(generate(bigram(alphabet), tokenizer, 'a'.repeat(9))).rejects.toThrow(ModelError);
    await expect(generate(bigram(alphabet), tokenizer, 'a', { topP: 0 })).rejects.toThrow(RecipeError);
    await expect(generate(bigram(alphabet), tokenizer, 'a', { temperature: NaN })).rejects.toThrow('got NaN');
    await expect(generate(bigram(alphabet), tokenizer, 'a', { tokens: 1.5 })).rejects.toThrow(RecipeError);
    await expect(generate(bigram(uniform.map(() => NaN)), tokenizer, 'a')).rejects.toThrow(NumericError);
    await expect(generate(bigram(alphabet), tokenizer, 'a', { signal: AbortSignal.abort() })).rejects.toThrow(/abort/);
  });
});
