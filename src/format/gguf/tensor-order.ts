/**
 * The orders in which llama.cpp's tools write tensors. They decide every offset, so files are equal byte for byte only in
 * the same order.
 */

/** Compares by code point, as sorting by name in Python and C++ does (for names without astral characters). */
function byCode(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function layerOf(ggufName: string): number {
  const match = /^blk\.(\d+)\./.exec(ggufName);
  return match ? Number(match[1]) : -1;
}

/** llama-quantize's order: tensors outside the layers first, by name, then layer by layer, by name (`weight_name_comparer`). */
export function blockOrder(a: string, b: string): number {
  return layerOf(a) - layerOf(b) || byCode(a, b);
}

/**
 * The converter's order: it walks shard by shard and sorts each shard's tensors by their Hugging Face names, so that layer 10
 * comes before layer 2; tensors that it makes itself (`rope_freqs.weight`) come first.
 * @param shardOf the shard a tensor lies in, when there are several
 */
export function converterOrder(shardOf: (name: string) => string = () => ''): (a: string, b: string) => number {
  return (a, b) => byCode(shardOf(a), shardOf(b)) || byCode(a, b);
}

/** The converter keeps these in F32 whatever the file type: one-dimensional tensors, norms, and what is not a weight. */
export function staysF32(ggufName: string, shape: readonly number[]): boolean {
  return (
    shape.length <= 1 ||
    ggufName.endsWith('_norm.weight') ||
    !ggufName.endsWith('.weight') ||
    /(^|\.)(ffn_gate_inp|ffn_gate_inp_shexp|position_embd|token_types)\.weight$/.test(ggufName)
  );
}
