// @ai-sdk/google with the `ai` functions over it, as Cline uses them. Its base URL has the version.

import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { APICallError, generateText, streamText } from "ai";

export class AiSdk {
  constructor({ base, credential }) {
    this.google = createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey: credential });
  }

  async unary(model, prompt) {
    const answer = await generateText({ model: this.google(model), prompt, maxRetries: 0 });
    return { chunks: [answer.text], finish: answer.finishReason, tokens: answer.usage.totalTokens };
  }

  async stream(model, prompt) {
    const { chunks, parts } = await this.#parts({ model, prompt });
    const finish = parts.find((p) => p.type === "finish");
    return { chunks, finish: finish.finishReason, tokens: finish.totalUsage.totalTokens };
  }

  async hangUp(model, prompt) {
    const abort = new AbortController();
    const { chunks } = await this.#parts({ model, prompt, abortSignal: abort.signal }, () => abort.abort());
    return chunks[0];
  }

  /** The parts of a stream. Its errors are parts too: thrown here, as a caller would have to. */
  async #parts({ model, ...options }, afterFirst = () => {}) {
    const parts = [];
    const chunks = [];
    const stream = streamText({ model: this.google(model), maxRetries: 0, onError() {}, ...options });
    for await (const part of stream.fullStream) {
      if (part.type === "error") throw part.error;
      parts.push(part);
      if (part.type === "text-delta") {
        chunks.push(part.text);
        afterFirst();
      }
    }
    return { parts, chunks };
  }

  describe(error) {
    if (!APICallError.isInstance(error)) throw error;
    return { class: error.name, status: error.statusCode, message: error.message, retryable: error.isRetryable };
  }
}
