export function balance(_x: Float32Array, _shape: readonly [number, number]): Float32Array { throw new Error('sinq'); }
export function lowRankOf(_e: Float32Array, _s: readonly [number, number], _o: {rank:number; weights?: Float32Array}): {a: Float32Array; b: Float32Array} { throw new Error('lr'); }
