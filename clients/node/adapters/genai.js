// @google/genai, whichever version's module it is given. The base URL as a user gives it:
// without an API version.

export function genai({ GoogleGenAI, ApiError }) {
  return class {
    constructor({ base, credential }) {
      this.models = new GoogleGenAI({ apiKey: credential, httpOptions: { baseUrl: base } }).models;
    }

    async unary(model, contents) {
      return outcome([await this.models.generateContent({ model, contents })]);
    }

    async stream(model, contents) {
      const answers = [];
      for await (const answer of await this.models.generateContentStream({ model, contents })) answers.push(answer);
      return outcome(answers);
    }

    async hangUp(model, contents) {
      // Leaving the loop does not close the connection in this library; its signal does.
      const abort = new AbortController();
      const stream = await this.models.generateContentStream({
        model,
        contents,
        config: { abortSignal: abort.signal },
      });
      const first = (await stream.next()).value.text;
      abort.abort();
      return first;
    }

    describe(error) {
      if (!(error instanceof ApiError)) throw error;
      return { class: error.name, status: error.status, message: error.message };
    }
  };
}

function outcome(answers) {
  const last = answers.at(-1);
  return {
    chunks: answers.map((a) => a.text),
    finish: last.candidates[0].finishReason,
    tokens: last.usageMetadata.totalTokenCount,
  };
}
