export { MAX_DIMENSIONS, MAX_HEADER_BYTES } from './limits.ts';
export { readSafetensors, type SafetensorsFile } from './read.ts';
export { planShards, readShardIndex, SHARD_INDEX, type Shard, SINGLE_FILE, shardIndexText } from './shards.ts';
export { layoutSafetensors, type SafetensorsLayout, type TensorHead, writeSafetensors } from './write.ts';
