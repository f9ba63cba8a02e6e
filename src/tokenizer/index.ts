export { type ChatMessage, type ChatTemplateOptions, renderChatTemplate } from './chat-template.ts';
export { tokenizerFromGguf } from './gguf.ts';
export { type TokenizerFiles, tokenizerFilesFromGguf } from './gguf-folder.ts';
export { encodeWithSpecialTokens, type HuggingFaceTokenizerFiles, tokenizerFromHuggingFace } from './huggingface.ts';
export { type PreTokenizer, preTokenizerNamed, preTokenizers } from './pre-tokenizers.ts';
export { recognisePreTokenizer } from './recognise.ts';
export { pieceType, readSentencePiece, type SentencePieceModel } from './sentencepiece.ts';
export type { Tokenizer } from './types.ts';
