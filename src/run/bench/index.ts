export { type Times, timesOf } from './clock.ts';
export { defaultBlock, type Kernel, type KernelName, kernelNames, kernels } from './kernels.ts';
export { type BenchRun, benchModel, type ModelBenchOptions, workingSets } from './model.ts';
export { type BandwidthPoint, bandwidthAt, type Probe, type ProbeOptions, probeMachine } from './probe.ts';
