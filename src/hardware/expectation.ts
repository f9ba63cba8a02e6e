/**
 * What a step of a runtime should take: the roofline, and beside it the runtime's own time for a call and its operators, which no
 * roofline knows and which is all that a very small model costs. And why a measurement is elsewhere.
 */
import type { Bound, Roofline } from './roofline.ts';

export interface Expectation {
  seconds: number;
  /** Of these, the runtime's own. */
  overheadSeconds: number;
  /** The larger part. */
  bound: Bound | 'overhead';
}

/** @param overheadSeconds of a step of the same graph with next to nothing to multiply */
export function withOverhead({ seconds, bound }: Pick<Roofline, 'seconds' | 'bound'>, overheadSeconds: number): Expectation {
  return { seconds: seconds + overheadSeconds, overheadSeconds, bound: overheadSeconds > seconds ? 'overhead' : bound };
}

/** A measured step and what is known about it. Seconds. */
export interface StepFacts {
  measured: number;
  /** With the bandwidth that the working set gets. */
  expected: Expectation;
  /** Without overhead: with the bandwidth of the working set, and with that of memory. */
  roofline: number;
  memoryRoofline: number;
  /** All matrix products of the step alone, measured at these shapes, quantization of their inputs included. */
  products: number;
  /** Weights become floats before they are multiplied. */
  dequantizes: boolean;
}

/** Measured and expected differ where one is so many times the other. */
export const apart = 2;

export interface Reason {
  code: 'overhead' | 'cache' | 'evicted' | 'dequantization' | 'small-products' | 'beside-products' | 'faster-than-probe';
  text: string;
}

const slower = ({ measured, expected }: StepFacts) => measured > apart * expected.seconds;
/** Products alone are slower than the roofline says. */
const slowProducts = ({ products, roofline }: StepFacts) => products > 1.5 * roofline;

/** Each with the question whether it explains these facts. */
const reasons: readonly (Reason & { explains: (facts: StepFacts) => boolean })[] = [
  {
    code: 'overhead',
    text: "overhead-bound: most of the step is the runtime's own time for its operators, which fewer bits do not shorten",
    explains: ({ measured, roofline, expected }) =>
      measured > apart * roofline && 2 * expected.overheadSeconds > measured - roofline,
  },
  {
    code: 'cache',
    text: 'cache-resident: the weights stay in the cache, which is read faster than memory',
    explains: ({ measured, memoryRoofline, roofline }) => apart * measured < memoryRoofline && 1.5 * roofline < memoryRoofline,
  },
  {
    code: 'evicted',
    text: 'as slow as with weights from memory, though the probe read as many bytes from the cache: they barely fit it, or other work shares it',
    explains: (facts) =>
      slower(facts) &&
      2 * facts.products < facts.measured &&
      1.5 * facts.roofline < facts.memoryRoofline &&
      facts.measured < 1.25 * (facts.memoryRoofline + facts.expected.overheadSeconds),
  },
  {
    code: 'dequantization',
    text: 'no low-bit arithmetic: weights become floats before they are multiplied',
    explains: (facts) => facts.dequantizes && slower(facts) && slowProducts(facts),
  },
  {
    code: 'small-products',
    text: 'the products alone, at these shapes, are slower than large ones: the kernel does not reach the probed rate or bandwidth',
    explains: (facts) => !facts.dequantizes && slower(facts) && slowProducts(facts),
  },
  {
    code: 'beside-products',
    text: 'normalization, attention, the cache and the copy of logits are not in the roofline, or other work shares the machine',
    explains: (facts) => slower(facts) && (!slowProducts(facts) || facts.measured - facts.products > facts.products),
  },
  {
    code: 'faster-than-probe',
    text: 'faster than the probe: other work shared the machine while it was probed',
    explains: ({ measured, expected }) => apart * measured < expected.seconds,
  },
];

/**
 * Why a measurement is more than a factor of two from the roofline or from what was expected; at least one reason where it is from the
 * latter, none where it is from neither.
 */
export function reasonsOf(facts: StepFacts): Reason[] {
  return reasons.filter(({ explains }) => explains(facts)).map(({ code, text }) => ({ code, text }));
}
