wc -l < /app/notes.txt > /app/answer.txt
