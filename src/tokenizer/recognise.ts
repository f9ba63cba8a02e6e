/**
 * Which `tokenizer.ggml.pre` a tokenizer.json needs. llama.cpp's converter hashes the ids of a fixed text
 * (conversion/base.py `get_vocab_base_pre`), which knows released vocabularies only; a vocabulary that is trained anew is
 * recognised by how its pre-tokenizer cuts.
 */
import type { Json, JsonObject } from '../checkpoint/types.ts';
import { encodeWithSpecialTokens } from './huggingface.ts';
import { entries, isObject, text } from './json.ts';
import { contraction, gpt2Pattern, preTokenizers } from './pre-tokenizers.ts';
import { sha256 } from './sha256.ts';

/** The converter's text: runs of white space, emoji, digits, scripts, punctuation, contractions. */
const checkText =
  '\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u200d🌫️ (multiple emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 ' +
  '333333 3333333 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български ' +
  "''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, " +
  "'D you like some tea? We'Ve a'lL";

/** SHA-256 of the ids as Python prints a list. */
const byHash: Readonly<Record<string, string>> = {
  '0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5': 'llama-bpe',
  c136ed14d01c2745d4f60a9596ae66800e2b61fa45643e72436041855ad4089d: 'smaug-bpe',
  d353350c764d8c3b39c763113960e4fb4919bea5fbf208a0e3b22e8469dc7406: 'llama4',
  e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea: 'qwen2',
  d4540891389ea895b53b399da6ac824becc30f2fba0e9ddbb98f92e55ca0e97c: 'qwen2',
  d30d75d9059f1aa2c19359de71047b3ae408c70875e8a3ccf8c5fba56c9d8af4: 'qwen35',
  '1444df51289cfa8063b96f0e62b1125440111bc79a52003ea14b6eac7016fd5f': 'qwen35',
  b3f499bb4255f8ca19fccd664443283318f2fd2414d5e0b040fbdd0cc195d6c5: 'deepseek-r1-qwen',
  '877081d19cf6996e2c4ff0e1236341e9b7bde288f5311a56a937f0afbbb3aeb5': 'deepseek-v3',
  '347715f544604f9118bb75ed199f68779f423cabb20db6de6f31b908d04d7821': 'deepseek-coder',
  '3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454': 'gpt-2',
  '0fe1cf6eda062318a1af7270f3331a85c539a01778ff948e24388e949c5282f4': 'gpt-2',
  fcace8b9cac38ce847670c970cd5892031a753a1ef381abd1d9af00f713da085: 'phi-2',
  '855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249': 'smollm',
  '35d91631860c815f952d711435f48d356ebac988362536bed955d43bfa436e34': 'starcoder',
  '6221ad2852e85ce96f791f476e0b390cf9b474c9e3d1362f53a24a06dc8220ff': 'refact',
  '9c2227e4dd922002fb81bde4fc02b0483ca4f12911410dee2255e4987644e3f8': 'command-r',
  '63b97e4253352e6f357cc59ea5b583e3a680eaeaf2632188c2b952de2588485e': 'tekken',
  '0e9433cbbb161f89e264eb32e8e64bfe69e834973ffca5d41d3948a604a3e2a3': 'pixtral',
  ccc2ef013c104be7bae2965776d611e1d7a8a2a9c547dd93a682c9a9fc80352e: 'gpt-4o',
  '8aeee3860c56296a157a1fe2fad249ec40aa59b1bb5709f4ade11c4e6fe652ed': 'falcon',
  '9d032fcbd5501f4a38150912590928bfb36091efb5df11b8e2124b0390e3fb1e': 'falcon3',
  b6dc8df998e1cfbdc4eac8243701a65afe638679230920b50d6f17d81c098166: 'olmo',
  '32d85c31273f8019248f2559fed492d929ea28b17e51d81d3bb36fff23ca72b3': 'stablelm2',
  a8594e3edff7c29c003940395316294b2c623e09894deebbc65f33f1515df79e: 'dbrx',
  '7e57df22b1fe23a7b1e1c7f3dc4e3f96d43a4eb0836d0c6bdc3436d7b2f1c664': 'hunyuan',
  '3c30d3ad1d6b64202cd222813e7736c2db6e1bd6d67197090fc1211fbc612ae7': 'bloom',
  '4e2b24cc4770243d65a2c9ec19770a72f08cffc161adbb73fcbb6b7dd45a0aae': 'exaone',
  '2085e1638f6c377a0aa4ead21b27bb4cb941bf800df86ed391011769c1758dfb': 'exaone4',
  '169bf0296a13c4d9b7672313f749eb36501d931022de052aad6e36f2bf34dd51': 'lfm2',
  a1336059768a55c99a734006ffb02203cd450fed003e9a71886c88acf24fdbc2: 'glm4',
  '9ca2dd618e8afaf09731a7cf6e2105b373ba6a1821559f258b272fe83e6eb902': 'glm4',
  d5f1dd6f980fec569fb218a81a7658ac45fc56b38c5a0adeb1c232fbe04ef5ec: 'seed-coder',
  '1431a23e583c97432bc230bff598d103ddb5a1f89960c8f1d1051aaa944d0b35': 'minerva-7b',
  a0b64b4385f123663873756336c085744376d015ff328bb1d901598f63c44152: 'modern-bert',
};

/** The name for `tokenizer.ggml.pre`, or undefined when the pre-tokenizer is none of those that llama.cpp knows. */
export function recognisePreTokenizer(tokenizerJson: JsonObject): string | undefined {
  const ids = encodeWithSpecialTokens({ tokenizerJson }, checkText);
  const hash = sha256(new TextEncoder().encode(`[${ids.join(', ')}]`));
  if (Object.hasOwn(byHash, hash)) return byHash[hash];

  const patterns = patternsOf(tokenizerJson['pre_tokenizer']);
  if (!patterns) return undefined;
  const ignoreMerges = entries(tokenizerJson['model'])['ignore_merges'] === true;
  const alike = preTokenizers.filter((row) => row.patterns.join('\n') === patterns.join('\n'));
  const row = alike.find((candidate) => (candidate.ignoreMerges ?? false) === ignoreMerges) ?? alike[0];
  return row?.names[0];
}

/** The patterns by which a pre-tokenizer cuts, spelled as in the table, or undefined when it does anything else. */
function patternsOf(pre: Json | undefined): string[] | undefined {
  const patterns: string[] = [];
  let byteLevel = false;
  for (const step of flatten(pre)) {
    if (byteLevel) return undefined;
    switch (step['type']) {
      case 'ByteLevel':
        if (step['add_prefix_space'] === true) return undefined;
        if (step['use_regex'] !== false) patterns.push(gpt2Pattern);
        byteLevel = true;
        break;
      case 'Digits':
        if (step['individual_digits'] !== true) return undefined;
        patterns.push(String.raw`\p{N}`);
        break;
      case 'Split': {
        const pattern = text(entries(step['pattern'])['Regex']);
        if (pattern === undefined || step['invert'] === true || step['behavior'] !== 'Isolated') return undefined;
        patterns.push(pattern.replaceAll("(?i:'s|'t|'re|'ve|'m|'ll|'d)", contraction));
        break;
      }
      default:
        return undefined;
    }
  }
  return byteLevel ? patterns : undefined;
}

function flatten(pre: Json | undefined): JsonObject[] {
  if (!isObject(pre)) return [];
  const steps = pre['pretokenizers'];
  return pre['type'] === 'Sequence' && Array.isArray(steps) ? steps.flatMap(flatten) : [pre];
}
