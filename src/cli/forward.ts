import { Command } from 'commander';
import { openCheckpoint, readTensor } from '../checkpoint/index.ts';
import { writeSafetensors } from '../checkpoint/safetensors/index.ts';
import { FormatError } from '../errors.ts';
import type { LanguageModel } from '../graph/index.ts';
import { languageModel } from '../run/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { openModel } from './models.ts';
import { cacheOf, threadsOf, withCache, withCommon } from './options.ts';
import { refuseExisting, writeOutput } from './output.ts';
import { type Common, printResult } from './terminal.ts';

interface ForwardFlags extends Common {
  tokens: string;
  output: string;
  hidden?: boolean;
  step?: boolean;
  force?: boolean;
  kvBits?: string;
}

export function forwardCommand(): Command {
  return withCache(withCommon(new Command('forward')))
    .description('one forward pass, for checking: token ids in, logits out')
    .argument('<model>')
    .requiredOption('--tokens <file>', 'safetensors with input_ids I64 [B, T]')
    .requiredOption('-o, --output <file>', 'safetensors with logits F32 [B, T, V]')
    .option('--hidden', 'also the hidden states')
    .option('--step', 'token by token through the key/value cache')
    .option('--force', 'replace an output that exists')
    .action(async (name: string, flags: ForwardFlags) => {
      await refuseExisting(flags.output, flags.force);
      const { ids, batch, length } = await readIds(flags.tokens);
      const model = await openModel(name);
      try {
        const language = await languageModel(model, { threads: threadsOf(flags) });
        const started = performance.now();
        try {
          const { kv } = cacheOf(flags, language.spec);
          const cached = kv ? language.withCache(kv) : language;
          const forward = flags.step
            ? stepwise(cached, ids, batch, length)
            : whole(cached, ids, batch, length, flags.hidden ?? false);
          const tensors = await forward.finally(() => (kv ? cached.close() : undefined));
          const seconds = (performance.now() - started) / 1000;
          await writeOutput(flags.output, writeSafetensors(tensors));
          const shape = [batch, length, language.spec.vocab];
          printResult(
            flags,
            { output: flags.output, shape, seconds, warnings: [] },
            () => `${flags.output}: logits ${shape.join(' x ')} in ${seconds.toFixed(2)} s`,
          );
        } finally {
          await language.close();
        }
      } finally {
        await model.close();
      }
    });
}

async function readIds(path: string): Promise<{ ids: Int32Array; batch: number; length: number }> {
  const file = await openCheckpoint(path);
  try {
    const entry = file.tensors.get('input_ids');
    if (entry?.type !== 'i64' || entry.shape.length !== 2) {
      throw new FormatError({
        what: 'needs a tensor input_ids of dtype I64 and shape [batch, length]',
        where: path,
        value: entry && { type: entry.type, shape: entry.shape },
      });
    }
    const mask = file.tensors.get('attention_mask');
    if (mask) {
      const { bytes } = await readTensor(mask);
      if (!bytes.some((b) => b !== 0) || hidesTokens(new BigInt64Array(bytes.slice().buffer))) {
        throw new FormatError({
          what: 'attention_mask hides tokens, which decoders here do not support',
          where: path,
          next: 'leave it out or set it to ones',
        });
      }
    }
    const { bytes } = await readTensor(entry);
    const [batch, length] = entry.shape as [number, number];
    return { ids: Int32Array.from(new BigInt64Array(bytes.slice().buffer), Number), batch, length };
  } finally {
    await file.close();
  }
}

function hidesTokens(mask: BigInt64Array): boolean {
  return mask.some((one) => one !== 1n);
}

async function whole(
  language: LanguageModel,
  ids: Int32Array,
  batch: number,
  length: number,
  hidden: boolean,
): Promise<Map<string, Tensor>> {
  const { vocab, hidden: width } = language.spec;
  if (!hidden) return new Map([['logits', tensorOf(await language.logits(ids, batch, length), [batch, length, vocab])]]);
  const { logits, states } = await language.hidden(ids, batch, length);
  const tensors = new Map([['logits', tensorOf(logits, [batch, length, vocab])]]);
  for (const [name, values] of states) tensors.set(`hidden.${name}`, tensorOf(values, [batch, length, width]));
  return tensors;
}

async function stepwise(language: LanguageModel, ids: Int32Array, batch: number, length: number): Promise<Map<string, Tensor>> {
  const { vocab } = language.spec;
  const decoder = await language.decoder(batch);
  const logits = new Float32Array(batch * length * vocab);
  try {
    for (let t = 0; t < length; t++) {
      const step = await decoder.step(Int32Array.from({ length: batch }, (_, b) => ids[b * length + t]!));
      for (let b = 0; b < batch; b++) logits.set(step.subarray(b * vocab, (b + 1) * vocab), (b * length + t) * vocab);
    }
  } finally {
    await decoder.close();
  }
  return new Map([['logits', tensorOf(logits, [batch, length, vocab])]]);
}

function tensorOf(values: Float32Array, shape: readonly number[]): Tensor {
  return { type: 'f32', shape, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}
