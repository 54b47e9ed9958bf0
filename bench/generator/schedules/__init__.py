"""When requests are due: functions of a seed and a number alone, whatever the server does."""
