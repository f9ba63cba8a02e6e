/** Rotations that a file of ours says stay in the model: their sizes belong to the model's shape, before a matrix of any size is made. */
import { FormatError } from '../../errors.ts';
import type { ModelSpec } from '../../model/index.ts';
import { hadamardOf, MAX_ORTHOGONAL, type OnlineRotation } from '../../quantize/transform/index.ts';
import { asMatrix } from '../../tensor/tensor.ts';
import type { WeightTensor } from '../types.ts';

/** A model that was rotated, and quantized again with rotations: more than that no run of ours makes. */
const MOST_AT_ONE_PLACE = 4;

/**
 * Of an input the right size is its width or that of a head, or with a stride what fills the width; of queries and keys it is that of a head.
 * @param where name of the file
 * @throws FormatError for places that the model does not have, and sizes that do not belong there
 */
export function checkOnline(
  online: readonly OnlineRotation[],
  spec: Pick<ModelSpec, 'layers' | 'headDim'>,
  tensors: readonly Pick<WeightTensor, 'name' | 'shape'>[],
  where: string,
): void {
  const widths = new Map(
    tensors.filter(({ shape }) => shape.length === 2).map(({ name, shape }) => [name, asMatrix(shape).cols]),
  );
  const counts = new Map<string, number>();
  for (const one of online) {
    const place = one.at === 'input' ? one.linear : `queries and keys of layer ${one.layer}`;
    const refuse = (what: string, value: unknown, limit: unknown): never => {
      throw new FormatError({ what, where: `${where}: ${place}`, value, limit, next: 'the file is damaged; make it again' });
    };
    const count = (counts.get(place) ?? 0) + 1;
    if (count > MOST_AT_ONE_PLACE) refuse('more rotations of one place than any transform makes', count, MOST_AT_ONE_PLACE);
    counts.set(place, count);
    const { kind, size } = one.rotation;
    const stride = (one.at === 'input' && one.stride) || 1;
    const width = one.at === 'input' ? widths.get(`${one.linear}.weight`) : one.layer < spec.layers ? spec.headDim : undefined;
    if (width === undefined) throw refuse('a rotation of what the model does not have', place, `${spec.layers} layers`);
    const sizes = stride > 1 ? [width / stride] : one.at === 'input' ? [width, spec.headDim] : [width];
    if (!sizes.includes(size) || width % (size * stride) !== 0)
      refuse('a rotation of a size that does not belong there', size, [...new Set(sizes)].join(' or '));
    if (kind === 'hadamard' && !hadamardOf(size)) refuse('there is no Hadamard matrix of this size', size, 'a size that has one');
    if (kind === 'orthogonal' && size > MAX_ORTHOGONAL) refuse('an orthogonal matrix that is too large', size, MAX_ORTHOGONAL);
  }
}
