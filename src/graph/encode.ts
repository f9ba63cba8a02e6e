/** Graph -> ONNX ModelProto. Large constants leave the protobuf and travel beside it, so that the proto stays below 2 GiB. */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { Attribute, Constant, Dimension, ElementType, Graph, GraphNode, GraphValue } from './ir.ts';
import {
  type AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProto_DataLocation,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from './onnx/onnx_pb.ts';

/** ONNX operator set 21 and IR version 10: the first that know blocked quantization and 4-bit integers. */
const operatorSets: Readonly<Record<string, bigint>> = { '': 21n, 'com.microsoft': 1n };
const irVersion = 10n;

/** Constants of this many bytes and more are stored outside the protobuf. */
const externalBytes = 1024;

export const dataTypes: Readonly<Record<ElementType, DataType>> = {
  f32: DataType.FLOAT,
  f16: DataType.FLOAT16,
  i64: DataType.INT64,
  i32: DataType.INT32,
  i8: DataType.INT8,
  u8: DataType.UINT8,
  i4: DataType.INT4,
  u4: DataType.UINT4,
  bool: DataType.BOOL,
};

/** One constant beside the protobuf: `path` is what the protobuf calls its file. */
export interface ExternalData {
  readonly path: string;
  readonly data: Uint8Array;
}

export interface EncodedGraph {
  readonly model: Uint8Array;
  readonly external: readonly ExternalData[];
}

/** `graph` as ONNX. With `inline`, all constants are inside `model` and `external` is empty (for models well below 2 GiB). */
export function encodeGraph(graph: Graph, { inline = false } = {}): EncodedGraph {
  const external: ExternalData[] = [];
  const initializer = [...graph.constants].map(([name, constant]) => {
    const path = `c${external.length}`;
    if (inline || constant.bytes.length < externalBytes) return tensorProto(name, constant);
    external.push({ path, data: constant.bytes });
    return externalProto(name, constant, path);
  });
  const model = create(ModelProtoSchema, {
    irVersion,
    producerName: 'fewbits',
    opsetImport: domainsOf(graph).map((domain) => ({ domain, version: operatorSets[domain] ?? 1n })),
    graph: {
      name: graph.name,
      node: graph.nodes.map(nodeProto),
      initializer,
      input: graph.inputs.map(valueProto),
      output: graph.outputs.map(valueProto),
    },
  });
  return { model: toBinary(ModelProtoSchema, model), external };
}

function domainsOf({ nodes }: Graph): string[] {
  return [...new Set(['', ...nodes.map(({ domain }) => domain)])];
}

function tensorProto(name: string, { type, dims, bytes }: Constant): MessageInitShape<typeof TensorProtoSchema> {
  return { name, dataType: dataTypes[type], dims: dims.map(BigInt), rawData: bytes };
}

function externalProto(name: string, { type, dims, bytes }: Constant, path: string): MessageInitShape<typeof TensorProtoSchema> {
  const facts = { location: path, offset: '0', length: `${bytes.length}` };
  return {
    name,
    dataType: dataTypes[type],
    dims: dims.map(BigInt),
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(facts).map(([key, value]) => ({ key, value })),
  };
}

function nodeProto({ name, op, domain, inputs, outputs, attributes }: GraphNode): MessageInitShape<typeof NodeProtoSchema> {
  return {
    name,
    opType: op,
    domain,
    input: [...inputs],
    output: [...outputs],
    attribute: Object.entries(attributes).map(([key, value]) => attributeProto(key, value)),
  };
}

function attributeProto(name: string, value: Attribute): MessageInitShape<typeof AttributeProtoSchema> {
  if ('int' in value) return { name, type: AttributeType.INT, i: BigInt(value.int) };
  if ('float' in value) return { name, type: AttributeType.FLOAT, f: value.float };
  if ('string' in value) return { name, type: AttributeType.STRING, s: new TextEncoder().encode(value.string) };
  if ('ints' in value) return { name, type: AttributeType.INTS, ints: value.ints.map(BigInt) };
  return { name, type: AttributeType.FLOATS, floats: [...value.floats] };
}

function valueProto({ name, type, dims }: GraphValue): MessageInitShape<typeof ValueInfoProtoSchema> {
  const shape = { dim: dims.map(dimension) };
  return { name, type: { value: { case: 'tensorType', value: { elemType: dataTypes[type], shape } } } };
}

function dimension(d: Dimension) {
  return typeof d === 'number'
    ? { value: { case: 'dimValue' as const, value: BigInt(d) } }
    : { value: { case: 'dimParam' as const, value: d } };
}
