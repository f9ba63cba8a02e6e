export { type BenchOptions, type BenchReport, bench } from './bench.ts';
export { type Times, timesOf } from './clock.ts';
export { type Kernel, type KernelName, kernelNames, kernels } from './kernels.ts';
export { type BenchRun, benchModel, type ModelBenchOptions, workingSets } from './model.ts';
export { benchOperators, type OperatorCase, type OperatorRow, operatorCases } from './operators.ts';
export { type BandwidthPoint, bandwidthAt, machineAt, type Probe, type ProbeOptions, probeMachine } from './probe.ts';
export { benchQuantization, type QuantizationRow } from './quantization.ts';
