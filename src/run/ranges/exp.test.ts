import { readFileSync } from 'node:fs';
import { test } from 'vitest';
import { calibrationText, defaultModel, defaultText } from '#run/embedded';
import { compare } from '../../evaluate/index.ts';
import { open } from '../../format/index.ts';
import { MemoryStore } from '../../io/index.ts';
import { plan, type RecipeInput } from '../../recipe/index.ts';
import { calibrationWindows } from '../calibration/windows.ts';
import { languageModel } from '../language.ts';
import { run } from '../run.ts';

test('x', async () => {
  const model = await open(defaultModel);
  const calibration = calibrationWindows(model.spec!, await model.tokenizer(), readFileSync(calibrationText, 'utf8'), {
    samples: 8,
    context: 256,
  });
  const models = [];
  const names = [];
  for (const [range, base] of [['absmax-half'], ['mse', 'absmax-half'], ['cross-entropy', 'absmax-half']] as const) {
    const t = performance.now();
    const recipe: RecipeInput = {
      version: 1,
      container: 'fewbits',
      scheme: {
        kind: 'integer',
        bits: 3,
        symmetric: true,
        granularity: { group: 64 },
        range,
        ...(base && { rangeOptions: { base } }),
        scaleType: 'f16',
      },
    };
    const planned = await plan(model, recipe, { output: 'out', calibrationContext: 256 });
    const store = new MemoryStore();
    const report = await run(planned, store, { threads: 1, ...(planned.calibration && { calibration }) });
    console.log(
      range,
      Math.round(performance.now() - t),
      planned.peakMemory,
      JSON.stringify(
        report.ranges?.map(({ tensor, factor, loss }) => [
          tensor.replace('model.layers.', ''),
          factor,
          ...loss.map((x) => +x.toFixed(5)),
        ]),
      ),
    );
    models.push(await languageModel(await open({ store, name: 'out' })));
    names.push(range);
  }
  const result = await compare(
    await languageModel(model),
    models,
    await model.tokenizer(),
    readFileSync(defaultText, 'utf8').slice(0, 30_000),
    { context: 256 },
  );
  for (const [i, name] of names.entries())
    console.log(
      name,
      result.models[i]!.kl.mean,
      result.models[i]!.kl.error,
      result.models[i]!.perplexity,
      result.reference.perplexity,
    );
}, 500_000);
