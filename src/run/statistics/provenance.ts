/** What a statistics file says of where it comes from: `__metadata__.fewbits`, JSON text. A file without it is as good. */
import { parseJsonObject } from '../../checkpoint/index.ts';
import type { Json } from '../../checkpoint/types.ts';
import { identity, sha256 } from '../../format/fingerprint.ts';
import type { Model } from '../../format/types.ts';
import type { StatisticsProvenance } from '../../quantize/statistics.ts';
import { VERSION } from '../../version.ts';
import type { CalibrationWindows } from '../calibration/windows.ts';

/** Of statistics that are made from these windows. @param name of the text */
export async function provenanceOf(model: Model, windows: CalibrationWindows, name: string): Promise<StatisticsProvenance> {
  const { ids, samples, context } = windows;
  return {
    version: VERSION,
    ...(await identity(model.checkpoint)),
    text: { name, sha256: await idsHash(ids) },
    samples,
    context,
    tokens: ids.length,
  };
}

/** sha256 of token ids, as little-endian i32. */
export async function idsHash(ids: Int32Array): Promise<string> {
  return sha256(new Uint8Array(ids.slice().buffer));
}

/** undefined where it is not what `provenanceOf` gives: it informs, and nothing depends on it. @throws FormatError where it is no JSON */
export function parseProvenance(text: string | undefined, where: string): StatisticsProvenance | undefined {
  if (text === undefined) return undefined;
  const { version, source, content, text: read, samples, context, tokens } = parseJsonObject(text, where);
  const { name, sha256 } = typeof read === 'object' && read !== null && !Array.isArray(read) ? read : {};
  if (!isText(version) || !isText(source) || !isText(name) || !isText(sha256)) return undefined;
  if (!isCount(samples) || !isCount(context) || !isCount(tokens)) return undefined;
  const sampled = isText(content) ? { content } : {};
  return { version, source, ...sampled, text: { name, sha256 }, samples, context, tokens };
}

const isText = (value: Json | undefined): value is string => typeof value === 'string';
const isCount = (value: Json | undefined): value is number => Number.isSafeInteger(value);
