/** A GGUF file in node-llama-cpp's own API, as an application would use it. */
import { pathToFileURL } from 'node:url';
import { resolveInterop } from './koffi.ts';

/** The part of node-llama-cpp 3.22 used here; the package is installed in interop/node_modules only. */
interface NodeLlama {
  getLlama(options: { gpu: false; build: 'never'; logLevel: string; skipDownload: boolean }): Promise<{
    loadModel(options: { modelPath: string }): Promise<ClientModel>;
    dispose(): Promise<void>;
  }>;
}
interface ClientModel {
  tokenize(text: string): number[];
  detokenize(tokens: number[]): string;
  tokens: { bos: number | null; shouldPrependBosToken: boolean };
  createContext(options: { contextSize: number; threads: number }): Promise<{
    getSequence(): { evaluate(tokens: number[], options: { temperature: number }): AsyncGenerator<number> };
  }>;
}

/** Greedy continuation of `prompt` by at most `count` tokens; the text of prompt and continuation. */
export async function generateWithClient(file: string, prompt: string, count: number): Promise<string> {
  const { getLlama } = (await import(pathToFileURL(resolveInterop('node-llama-cpp')).href)) as NodeLlama;
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', skipDownload: true });
  const model = await llama.loadModel({ modelPath: file });
  const { bos, shouldPrependBosToken } = model.tokens;
  const input = [...(shouldPrependBosToken && bos !== null ? [bos] : []), ...model.tokenize(prompt)];
  const context = await model.createContext({ contextSize: input.length + count + 8, threads: 2 });
  const tokens: number[] = [];
  // The generator ends by itself on an end-of-generation token.
  for await (const token of context.getSequence().evaluate(input, { temperature: 0 })) {
    tokens.push(token);
    if (tokens.length === count) break;
  }
  const text = model.detokenize([...input.slice(shouldPrependBosToken ? 1 : 0), ...tokens]);
  await llama.dispose();
  return text;
}
