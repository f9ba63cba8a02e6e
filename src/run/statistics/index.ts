export { type Conversion, convertStatistics } from './convert.ts';
export { linearNames } from './names.ts';
export { isStatistics, openStatistics } from './open.ts';
export { idsHash, provenanceOf } from './provenance.ts';
export type { StatisticsFile } from './reader.ts';
export { createStatistics, kindsOfFile, type StatisticsHead, type StatisticsWriter, unfinishedFolder } from './writer.ts';
