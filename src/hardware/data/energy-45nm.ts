import type { EnergyTable } from '../energy-table.ts';

export const energy45nm: EnergyTable = {
  node: '45 nm, 0.9 V',
  source: "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9",
  energy: {
    add: { int8: 0.03, int16: 0.05, int32: 0.1, fp16: 0.4, fp32: 0.9 },
    multiply: { int8: 0.2, int32: 3.1, fp16: 1.1, fp32: 3.7 },
  },
  sram: [
    { bytes: 8 * 1024, bits: 64, picojoules: 10 },
    { bytes: 32 * 1024, bits: 64, picojoules: 20 },
    { bytes: 1024 * 1024, bits: 64, picojoules: 100 },
  ],
  dram: { bits: 64, least: 1300, most: 2600 },
  area: {
    source:
      'Synthesized for TSMC 45 nm (floating point: DesignWare); W. Dally, High-Performance Hardware for Machine Learning, NIPS 2015',
    add: { int8: 36, int16: 67, int32: 137, fp16: 1360, fp32: 4184 },
    multiply: { int8: 282, int32: 3495, fp16: 1640, fp32: 7700 },
  },
};
