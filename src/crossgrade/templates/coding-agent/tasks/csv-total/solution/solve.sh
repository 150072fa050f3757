awk -F, '$2 == "EU" {sum += $3} END {print sum}' /app/sales.csv > /app/answer.txt
