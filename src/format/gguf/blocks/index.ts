/** ggml's block types as codes and levels: what error feedback and refitting change. */
export { readCodes, withCodes, writeCodes } from './codes.ts';
export { type BlockLayout, hasLevels, type LevelType, layoutOf } from './layouts.ts';
export { type BlockLevels, groupSize, groupsOf, type LevelSet, readLevels, writeLevels } from './levels.ts';
export { leveledRows, type RefineOptions, refineBlocks } from './refine.ts';
export { type RoundOptions, roundBlocks } from './round.ts';
export { blocksFromTile, tileFromBlocks } from './tile.ts';
