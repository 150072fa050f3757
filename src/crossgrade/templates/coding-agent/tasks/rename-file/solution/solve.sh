mv /app/draft.md /app/final.md
