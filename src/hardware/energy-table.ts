/** The form of a table of energies and areas: one a node; another node is another file of this form in data/. */

export type Operand = 'int8' | 'int16' | 'int32' | 'fp16' | 'fp32';

/** Of an addition and of a multiplication, by type; what the source does not have is left out. */
export interface ByOperation {
  add: Partial<Record<Operand, number>>;
  multiply: Partial<Record<Operand, number>>;
}

export interface EnergyTable {
  /** '45 nm, 0.9 V' */
  node: string;
  source: string;
  /** Picojoules. */
  energy: ByOperation;
  /** Picojoules of reading or writing `bits` in an on-chip memory of `bytes`, smallest first. */
  sram: readonly { bytes: number; bits: number; picojoules: number }[];
  /** Picojoules of `bits` from or to memory off the chip. */
  dram: { bits: number; least: number; most: number };
  /** µm² of silicon. */
  area?: ByOperation & { source: string };
}
