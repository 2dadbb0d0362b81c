import { testOnSqlite } from './space-model.ts'

testOnSqlite(4)
