// A worker that factorizes, from the compiled sources: a thread of Node 20 cannot load TypeScript.
import { loadKernels, serve } from '../../../dist/kernels/index.js';
import { factorTask } from '../../../dist/quantize/index.js';

const kernels = loadKernels();
serve({ factor: async (task) => factorTask(task, await kernels) });
