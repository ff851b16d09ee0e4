// openai. Given Google's own OpenAI path at both places; the Python suite gives the relay `/v1`.

import OpenAI, { APIError } from "openai";

export class OpenAi {
  constructor({ base, credential }) {
    const client = new OpenAI({ apiKey: credential, baseURL: `${base}/v1beta/openai/`, maxRetries: 0 });
    this.completions = client.chat.completions;
  }

  async unary(model, prompt) {
    const answer = await this.completions.create(request(model, prompt));
    const [choice] = answer.choices;
    return { chunks: [choice.message.content], finish: choice.finish_reason, tokens: answer.usage.total_tokens };
  }

  async stream(model, prompt) {
    const choices = [];
    for await (const event of await this.completions.create({ ...request(model, prompt), stream: true })) {
      choices.push(...event.choices);
    }
    return { chunks: choices.map((c) => c.delta.content), finish: choices.at(-1).finish_reason };
  }

  async hangUp(model, prompt) {
    for await (const event of await this.completions.create({ ...request(model, prompt), stream: true })) {
      return event.choices[0].delta.content;
    }
  }

  describe(error) {
    if (!(error instanceof APIError)) throw error;
    return { class: error.constructor.name, status: error.status, message: error.message, body: error.error };
  }
}

function request(model, prompt) {
  return { model, messages: [{ role: "user", content: prompt }] };
}
