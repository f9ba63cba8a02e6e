import { Command } from 'commander';
import { ModelError } from '../errors.ts';
import { bitsPerWeight, conventions, type Model, type WeightTensor } from '../format/index.ts';
import { parameters as countParameters } from '../recipe/index.ts';
import { isStatistics, type ValueSummary, valueSummaries } from '../run/index.ts';
import { inspectStatistics } from './inspect-statistics.ts';
import { openModel } from './models.ts';
import { withCommon } from './options.ts';
import { bytesText, type Common, printResult, small, table } from './terminal.ts';

export function inspectCommand(): Command {
  return withCommon(new Command('inspect'))
    .description('what a model, file or statistics file holds: container, architecture, tensors, types')
    .argument('<model>')
    .argument('[tensor]', 'only this tensor, with its values')
    .option('--values', 'smallest, largest and outlying values of each tensor (reads all of them)')
    .action(async (name: string, tensor: string | undefined, flags: Common & { values?: boolean }) => {
      if (name !== 'default' && (await isStatistics(name))) {
        if (tensor !== undefined) throw new ModelError({ what: 'statistics are shown as a whole', where: name, value: tensor });
        return inspectStatistics(name, flags);
      }
      const model = await openModel(name);
      try {
        await inspect(model, tensor, flags);
      } finally {
        await model.close();
      }
    });
}

async function inspect(model: Model, only: string | undefined, flags: Common & { values?: boolean }): Promise<void> {
  const chosen =
    only === undefined ? model.tensors : model.tensors.filter((t) => t.name === only || t.fileName === only || t.gguf === only);
  if (chosen.length === 0) {
    throw new ModelError({
      what: 'no such tensor',
      where: model.name,
      value: only,
      next: 'fewbits inspect MODEL lists the names',
    });
  }
  const summaries = flags.values || only !== undefined ? await valueSummaries(chosen) : [];
  const rows = chosen.map((tensor, i) => ({ tensor, ...(summaries[i] && { summary: summaries[i] }) }));
  const total = model.tensors.reduce((sum, t) => sum + t.bytes, 0);
  const parameters = countParameters(model);
  const document = {
    container: model.container,
    architecture: model.spec?.architecture ?? null,
    parameters,
    bytes: total,
    bitsPerWeight: bitsPerWeight(model),
    runtimes: runtimesOf(model),
    conventions: await conventions(model),
    spec: model.spec ?? null,
    tensors: rows.map(({ tensor, summary }) => ({
      name: tensor.fileName,
      ...(tensor.name !== tensor.fileName && { canonicalName: tensor.name }),
      role: tensor.role,
      type: tensor.type,
      shape: tensor.shape,
      bytes: tensor.bytes,
      ...summary,
    })),
    warnings: model.warnings,
  };
  printResult(flags, document, () =>
    [
      `${model.name}: ${document.container}, ${document.architecture ?? 'no architecture'}, ${parameters.toLocaleString('en')} parameters, ${bytesText(total)} of tensors, ${document.bitsPerWeight.toFixed(3)} bits per weight`,
      model.spec
        ? `hidden ${model.spec.hidden}, MLP ${model.spec.intermediate}, ${model.spec.layers} layers, ${model.spec.heads} heads, ${model.spec.kvHeads} key/value heads of ${model.spec.headDim}, vocabulary ${model.spec.vocab}, context ${model.spec.context}${model.spec.tied ? ', tied embedding' : ''}`
        : '',
      `loads in: ${document.runtimes.join(', ')}`,
      ...document.conventions.map((convention) => `recognised: ${convention}`),
      ...model.warnings.map((warning) => `warning: ${warning}`),
      '',
      tensorTable(rows),
    ]
      .filter((line, i) => line !== '' || i > 2)
      .join('\n'),
  );
}

function tensorTable(rows: readonly { tensor: WeightTensor; summary?: ValueSummary }[]): string {
  const values = rows.some((row) => row.summary);
  const head = ['tensor', 'role', 'type', 'shape', 'bytes', ...(values ? ['min', 'max', 'outliers'] : [])];
  return table(
    head,
    rows.map(({ tensor, summary }) => [
      tensor.fileName,
      tensor.role,
      tensor.type,
      tensor.shape.join(' x '),
      tensor.bytes,
      ...(values
        ? summary
          ? [small(summary.min), small(summary.max), `${(100 * summary.outlierRatio).toFixed(3)} %`]
          : ['', '', '']
        : []),
    ]),
    [4, 5, 6, 7],
  );
}

/** Who loads a container; a folder of plain floats is for all of them. */
const loaders: Readonly<Partial<Record<Model['container'], readonly string[]>>> = {
  gguf: ['llama.cpp', 'node-llama-cpp', 'ollama', 'LM Studio', 'fewbits'],
  fewbits: ['fewbits'],
  gptq: ['vLLM', 'GPTQModel', 'transformers (with GPTQModel)', 'fewbits'],
  'compressed-tensors': ['vLLM', 'transformers (with compressed-tensors)', 'fewbits'],
};

function runtimesOf({ container, spec }: Model): readonly string[] {
  return loaders[container] ?? (spec ? ['transformers', 'vLLM', 'fewbits'] : ['fewbits']);
}
