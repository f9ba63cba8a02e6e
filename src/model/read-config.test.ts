import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../checkpoint/types.ts';
import { ModelError } from '../errors.ts';
import { readSpec } from './read-config.ts';

const config = (name: string): JsonObject =>
  JSON.parse(readFileSync(new URL(`../../test/golden/architectures/${name}`, import.meta.url), 'utf8'));

describe('readSpec', () => {
  test('reads every dimension', () => {
    expect(readSpec(config('llama-bias-headdim/config.json'))).toEqual({
      architecture: 'llama',
      hidden: 48,
      intermediate: 96,
      layers: 2,
      heads: 3,
      kvHeads: 1,
      headDim: 20,
      vocab: 128,
      context: 64,
      normEpsilon: 1e-6,
      rope: { dims: 20, base: 5000, scaling: { kind: 'none' } },
      tied: false,
      bias: { q: true, k: true, v: true, o: true, gate: true, up: true, down: true },
      qkNorm: false,
      window: [undefined, undefined],
    });
  });

  test.each(['config.json', 'config.legacy.json'])('rope scaling of %s', (file) => {
    const scaling = (name: string) => readSpec(config(`${name}/${file}`)).rope.scaling;
    expect(scaling('llama-rope-linear')).toEqual({ kind: 'linear', factor: 2.5 });
    expect(scaling('llama-rope-dynamic')).toEqual({ kind: 'dynamic', factor: 2, originalContext: 16 });
    expect(scaling('llama-rope-yarn')).toEqual({
      kind: 'yarn',
      factor: 4,
      originalContext: 512,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
    });
    expect(scaling('llama-tied-rope-llama3')).toEqual({
      kind: 'llama3',
      factor: 8,
      lowFrequency: 1,
      highFrequency: 4,
      originalContext: 32,
    });
  });

  test('sliding windows: all layers of Mistral, the later ones of Qwen, none where it is null or switched off', () => {
    const window = (name: string, changed: JsonObject = {}) => readSpec({ ...config(`${name}/config.json`), ...changed }).window;
    expect(window('mistral')).toEqual([7, 7]);
    expect(window('mistral', { sliding_window: null })).toEqual([undefined, undefined]);
    expect(window('qwen2-sliding')).toEqual([undefined, 6, 6]);
    expect(window('qwen2-sliding', { layer_types: null })).toEqual([undefined, 6, 6]);
    expect(window('qwen2-sliding', { use_sliding_window: false })).toEqual([undefined, undefined, undefined]);
  });

  test('a field left out has the default of its class', () => {
    const {
      num_key_value_heads: _,
      head_dim: __,
      rms_norm_eps: ___,
      rope_parameters: ____,
      ...rest
    } = config('llama/config.json');
    expect(readSpec(rest)).toMatchObject({ kvHeads: 4, headDim: 16, normEpsilon: 1e-6, rope: { base: 10000 } });
    const { model_type: _____, ...untyped } = config('qwen3/config.json');
    expect(readSpec(untyped).architecture).toBe('qwen3');
  });

  const wrong: [string, JsonObject, RegExp][] = [
    ['missing', { vocab_size: null }, /config\.json: 'vocab_size' is missing/],
    ['not a number', { hidden_size: '64' }, /'hidden_size' must be a positive whole number \(got 64\)/],
    ['not whole', { num_hidden_layers: 1.5 }, /'num_hidden_layers'/],
    ['negative', { intermediate_size: -1 }, /'intermediate_size'/],
    ['too many layers', { num_hidden_layers: 1e9 }, /'num_hidden_layers' is too large \(got 1000000000, limit 10000\)/],
    ['heads that do not divide', { num_key_value_heads: 3 }, /4 attention heads cannot share 3 key\/value heads/],
    ['no head dimension', { head_dim: null, hidden_size: 65 }, /'head_dim'/],
    ['odd head dimension', { head_dim: 15 }, /must be even/],
    ['epsilon', { rms_norm_eps: 0 }, /'rms_norm_eps' must be a positive number/],
    ['flag', { tie_word_embeddings: 'yes' }, /'tie_word_embeddings' must be true or false/],
    ['activation', { hidden_act: 'gelu' }, /'hidden_act' is not supported .*limit silu/],
    ['kind of rope', { rope_parameters: { rope_type: 'spiral', rope_theta: 1 } }, /unknown kind of rope \(got spiral/],
    ['prototype as rope', { rope_parameters: { rope_type: 'constructor', rope_theta: 1 } }, /unknown kind of rope/],
    ['rope factor', { rope_parameters: { rope_type: 'linear', rope_theta: 1 } }, /rope_parameters: 'factor' is missing/],
    ['rope section', { rope_parameters: [1] }, /rope_parameters: must be an object/],
    ['layer types', { layer_types: ['full_attention'] }, /'layer_types' must name the kind of each of the 2 layers/],
  ];
  test.each(wrong)('refuses %s', (_, changed, message) => {
    const read = () => readSpec({ ...config('llama/config.json'), ...changed });
    expect(read).toThrow(ModelError);
    expect(read).toThrow(message);
  });

  test('an unknown architecture lists the known ones and what still works', () => {
    const read = () => readSpec({ model_type: 'mamba' });
    expect(read).toThrow(/unknown architecture \(got mamba\); known are llama, mistral, qwen2, qwen3;.*bag of tensors/);
    expect(() => readSpec({})).toThrow(/unknown architecture \(got nothing\)/);
  });
});
